"""Subscriptions that resume: redis-py, unchanged, whose line is cut under load."""

import os
import threading
import time

import pytest
import redis
from conftest import IS_STERNA, TestServer
from line import Line
from redis.backoff import ConstantBackoff
from redis.retry import Retry

pytestmark = pytest.mark.skipif(not IS_STERNA, reason="only Sterna resumes subscriptions")

CUTS = int(os.environ.get("STERNA_TEST_CUTS", 2))
CUT_SECONDS = 2
NOTICES = "__sterna__:resume"
CHANNELS = ["a", "b", "p1"]


@pytest.fixture
def resuming_server(tmp_path):
    server = TestServer(tmp_path, ["--resume-window", "60", "--resume-buffer", "16mb"])
    server.start()
    yield server
    server.stop()


def listen(pubsub, heard):
    """Until the last message has come on each channel."""
    ends = 0
    while ends < len(CHANNELS):
        try:
            message = pubsub.get_message(ignore_subscribe_messages=True, timeout=1)
        except redis.ConnectionError:
            continue
        if message is not None:
            heard.append((message["channel"], message["data"]))
            ends += message["data"] == "end"


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("protocol", [2, 3])
def test_each_message_comes_once_though_the_line_is_cut(resuming_server, protocol, tls):
    server = resuming_server
    line = Line(server.tls_port if tls else server.port)
    options = {"ssl": True, "ssl_ca_certs": server.cert} if tls else {}
    client = redis.Redis(
        host=server.host, port=line.port, password=server.password, protocol=protocol, decode_responses=True,
        client_name="listener", retry=Retry(ConstantBackoff(0.1), 100), **options,
    )  # fmt: skip
    publisher = redis.Redis(host=server.host, port=server.port, password=server.password)
    pubsub = client.pubsub()
    pubsub.subscribe("a", "b")
    pubsub.psubscribe("p*")
    for _ in range(3):
        assert pubsub.get_message(timeout=60)["type"].endswith("subscribe")
    heard, count = [], 0
    listener = threading.Thread(target=listen, args=(pubsub, heard), daemon=True)
    listener.start()

    def publish_for(seconds):
        nonlocal count
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            for channel in CHANNELS:
                publisher.publish(channel, f"{count}")
            count += 1
            time.sleep(0.001)

    for cut in range(CUTS):
        publish_for(0.3)
        cutter = threading.Thread(target=line.cut)
        cutter.start()
        publish_for(CUT_SECONDS)
        cutter.join()
        line.mend()
        until = time.monotonic() + 60
        while publisher.info("clients")["resumed_clients"] <= cut and time.monotonic() < until:
            publish_for(0.1)
    for channel in CHANNELS:
        publisher.publish(channel, "end")
    listener.join(60)
    assert not listener.is_alive(), f"{len(heard)} of {3 * count} have come"
    assert [data for channel, data in heard if channel == NOTICES] == []
    for channel in CHANNELS:
        numbers = [data for other, data in heard if other == channel]
        assert numbers == [*map(str, range(count)), "end"], f"{channel}: {len(numbers)} of {count}"
    assert publisher.info("clients")["resumed_clients"] >= CUTS
    line.close()
