"""redis-py's client cache: values are kept, and dropped when the server says that they have changed."""

import re
import time

import pytest
import redis
from redis.cache import CacheConfig

WAIT_SECONDS = 60


@pytest.fixture
def connect(server):
    clients = []

    def open_one(**options):
        options = {"decode_responses": True, "protocol": 3, **options}
        client = redis.Redis(
            host=server.host,
            port=server.tls_port,
            password=server.password,
            ssl=True,
            ssl_ca_certs=server.cert,
            **options,
        )
        clients.append(client)
        return client

    yield open_one
    for client in clients:
        client.close()


@pytest.fixture
def pair(connect):
    """A client with a cache and one without."""
    other = connect()
    version = tuple(int(part) for part in other.info("server")["redis_version"].split("."))
    if version < (7, 4):
        pytest.skip("redis-py caches with Redis 7.4 and newer")
    other.flushall()
    cached = connect(cache_config=CacheConfig())
    yield cached, other


def gets_run(server) -> int:
    """How often it was executed: each node of several counts what it has executed itself."""
    return sum(map(int, re.findall(r"cmdstat_get:calls=(\d+)", server.info_of_nodes("commandstats"))))


def eventually(read, expected) -> None:
    """redis-py looks at what it was told before each command, so it is asked until it knows."""
    deadline = time.monotonic() + WAIT_SECONDS
    while read() != expected:
        assert time.monotonic() < deadline, f"still {read()!r}, not {expected!r}"


def test_a_value_is_asked_for_once_and_again_when_it_has_changed(pair, server):
    cached, other = pair
    other.mset({"k": "one", "{k}still": "here"})
    assert (cached.get("k"), cached.get("{k}still")) == ("one", "here")
    before = gets_run(server)
    assert [cached.get("k") for _ in range(10)] == ["one"] * 10
    assert gets_run(server) == before, "the server is not asked"

    other.set("k", "two")
    eventually(lambda: cached.get("k"), "two")
    assert cached.get("{k}still") == "here"
    assert gets_run(server) == before + 1, "only the changed key is asked for"


@pytest.mark.parametrize(
    ("change", "then"),
    [
        pytest.param(lambda cached, other: other.delete("k"), None, id="deleted"),
        pytest.param(lambda cached, other: other.pexpire("k", 1), None, id="expired"),
        pytest.param(lambda cached, other: other.append("k", "er"), "older", id="appended"),
        pytest.param(lambda cached, other: other.rename("{k}other", "k"), "other", id="renamed-over"),
        pytest.param(lambda cached, other: cached.set("k", "own"), "own", id="by-itself"),
        pytest.param(lambda cached, other: other.flushall(), None, id="emptied"),
        pytest.param(
            lambda cached, other: other.pipeline(transaction=True).set("{k}x", 1).set("k", "new").execute(),
            "new",
            id="in-a-transaction",
        ),
    ],
)
def test_every_change_ends_a_copy(pair, change, then):
    cached, other = pair
    other.mset({"k": "old", "{k}other": "other"})
    assert (cached.get("k"), cached.get("k")) == ("old", "old")
    change(cached, other)
    eventually(lambda: cached.get("k"), then)


def test_commands_on_several_keys_and_several_commands_on_one(pair, server):
    cached, other = pair
    other.mset({"{k}a": "1", "{k}b": "2"})
    assert (cached.mget("{k}a", "{k}b"), cached.strlen("{k}b"), cached.get("{k}a")) == (["1", "2"], 1, "1")
    other.set("{k}b", "22")
    eventually(lambda: cached.mget("{k}a", "{k}b"), ["1", "22"])
    assert cached.strlen("{k}b") == 2
    before = gets_run(server)
    assert cached.get("{k}a") == "1"
    assert gets_run(server) == before, "its copy was left alone"


def test_a_lost_connection_ends_every_copy(pair):
    cached, other = pair
    other.set("k", "one")
    assert cached.get("k") == "one"
    for client in other.client_list():
        if client["flags"] == "t":
            other.client_kill_filter(_id=client["id"])
    other.set("k", "two")
    eventually(lambda: cached.get("k"), "two")
