"""redis-py and valkey-py, which share their shape: blocking and asyncio, RESP2 and RESP3."""

import asyncio
import threading

import pytest
import redis
import redis.asyncio
import valkey
import valkey.asyncio

WAIT_SECONDS = 60

BLOCKING = [
    pytest.param((library, family, protocol), id=f"{name}-resp{protocol}")
    for name, library, family in [("redis", redis, redis.Redis), ("valkey", valkey, valkey.Valkey)]
    for protocol in (2, 3)
]
ASYNCIO = [
    pytest.param((family, protocol), id=f"{name}-resp{protocol}")
    for name, family in [("redis", redis.asyncio.Redis), ("valkey", valkey.asyncio.Valkey)]
    for protocol in (2, 3)
]


def connect(server, family, protocol, **options):
    # valkey-py's own default is 5 s, on a channel that is silent too.
    options = {"decode_responses": True, "password": server.password, "socket_timeout": WAIT_SECONDS, **options}
    return family(
        host=server.host, port=server.tls_port, ssl=True, ssl_ca_certs=server.cert, protocol=protocol, **options
    )


def next_message(pubsub):
    message = pubsub.get_message(timeout=WAIT_SECONDS)
    assert message is not None, "nothing arrived"
    return message


def brief(message):
    return (message["type"], message["pattern"], message["channel"], message["data"])


@pytest.fixture(autouse=True)
def alone(server):
    """Counts of subscribers are those of the test at hand when those of the tests before are gone."""
    with connect(server, redis.Redis, 2) as client:
        while client.client_list(_type="pubsub"):
            pass


@pytest.mark.parametrize("kind", BLOCKING)
class TestBlocking:
    def test_the_handshake_sets_password_name_and_database(self, server, kind):
        _, family, protocol = kind
        with connect(server, family, protocol, client_name="named", db=0) as client:
            assert client.ping() is True
            assert client.client_getname() == "named"
            info = client.client_info()
            assert (info["name"], info["user"], int(info["db"])) == ("named", "default", 0)

    def test_a_wrong_password_is_an_authentication_error(self, server, kind):
        library, family, protocol = kind
        with connect(server, family, protocol, password="guess") as client:
            with pytest.raises(library.AuthenticationError):
                client.ping()

    def test_channels_and_patterns(self, server, kind):
        _, family, protocol = kind
        with connect(server, family, protocol) as client, client.pubsub() as pubsub:
            pubsub.subscribe("a", "b")
            pubsub.psubscribe("a*")
            assert [brief(next_message(pubsub)) for _ in range(3)] == [
                ("subscribe", None, "a", 1),
                ("subscribe", None, "b", 2),
                ("psubscribe", None, "a*", 3),
            ]
            assert client.publish("a", "one") == 2
            assert client.publish("nobody", "lost") == 0
            assert client.publish("b", "two") == 1
            assert [brief(next_message(pubsub)) for _ in range(3)] == [
                ("message", None, "a", "one"),
                ("pmessage", "a*", "a", "one"),
                ("message", None, "b", "two"),
            ]
            assert client.pubsub_numsub("a", "none") == [("a", 1), ("none", 0)]
            assert sorted(client.pubsub_channels()) == ["a", "b"]
            assert client.pubsub_numpat() == 1

    def test_unsubscribing_without_a_name_confirms_each(self, server, kind):
        _, family, protocol = kind
        with connect(server, family, protocol) as client, client.pubsub() as pubsub:
            pubsub.subscribe("a")
            pubsub.psubscribe("p*")
            for _ in range(2):
                next_message(pubsub)
            pubsub.unsubscribe()
            pubsub.punsubscribe()
            assert brief(next_message(pubsub)) == ("unsubscribe", None, "a", 1)
            assert brief(next_message(pubsub)) == ("punsubscribe", None, "p*", 0)
            assert client.publish("a", "gone") == 0
            assert client.publish("pp", "gone") == 0

    def test_unsubscribing_from_nothing_confirms_with_none(self, server, kind):
        _, family, protocol = kind
        with connect(server, family, protocol) as client, client.pubsub() as pubsub:
            pubsub.subscribe("a")
            next_message(pubsub)
            pubsub.punsubscribe()
            assert brief(next_message(pubsub)) == ("punsubscribe", None, None, 1)

    def test_sharded_channels(self, server, kind):
        _, family, protocol = kind
        with connect(server, family, protocol) as client, client.pubsub() as pubsub:
            pubsub.ssubscribe("s")
            assert brief(next_message(pubsub)) == ("ssubscribe", None, "s", 1)
            assert client.execute_command("SPUBLISH", "s", "hello") == 1
            assert client.publish("s", "another space") == 0
            message = next_message(pubsub)
            assert brief(message) == ("smessage", None, "s", "hello")

    def test_binary_messages_arrive_as_they_were_sent(self, server, kind):
        _, family, protocol = kind
        every_byte = bytes(range(256))
        with connect(server, family, protocol, decode_responses=False) as client, client.pubsub() as pubsub:
            pubsub.subscribe(every_byte)
            next_message(pubsub)
            assert client.publish(every_byte, every_byte) == 1
            message = next_message(pubsub)
            assert (message["channel"], message["data"]) == (every_byte, every_byte)

    def test_a_health_check_while_subscribed_is_not_a_message(self, server, kind):
        _, family, protocol = kind
        # Undecoded: decoding, redis-py 5 and valkey-py don't recognise their own PING's reply in RESP3.
        with connect(server, family, protocol, decode_responses=False) as client, client.pubsub() as pubsub:
            pubsub.subscribe("a")
            next_message(pubsub)
            # Due at once: the next read first sends the PING that the library sends by itself after a quiet interval.
            connection = pubsub.connection
            connection.health_check_interval, connection.next_health_check = 60, -1
            assert pubsub.get_message(timeout=WAIT_SECONDS) is None, "the library took its own PING's reply away"
            assert pubsub.health_check_response_counter == 0
            assert client.publish("a", "after") == 1
            assert brief(next_message(pubsub)) == ("message", None, b"a", b"after")

    def test_a_thread_listens(self, server, kind):
        _, family, protocol = kind
        heard, done = [], threading.Event()

        def on_message(message):
            heard.append(message["data"])
            if message["data"] == "end":
                done.set()

        with connect(server, family, protocol) as client, client.pubsub() as pubsub:
            pubsub.subscribe(**{"thread": on_message})
            next_subscription = pubsub.get_message(timeout=WAIT_SECONDS)
            assert next_subscription["type"] == "subscribe"
            thread = pubsub.run_in_thread(sleep_time=0.1, daemon=True)
            for text in ["one", "two", "end"]:
                assert client.publish("thread", text) == 1
            assert done.wait(WAIT_SECONDS)
            thread.stop()
            thread.join(WAIT_SECONDS)
        assert heard == ["one", "two", "end"]

    def test_killed_or_restarted_it_subscribes_again(self, own_server, kind):
        library, family, protocol = kind
        retry = library.retry.Retry(library.backoff.ExponentialBackoff(cap=1, base=0.01), -1)
        options = {"retry": retry, "retry_on_error": [library.ConnectionError]}
        with connect(own_server, family, protocol, client_name="victim", **options) as client:
            with client.pubsub() as pubsub, connect(own_server, family, protocol, **options) as other:
                pubsub.subscribe("a")
                assert brief(next_message(pubsub)) == ("subscribe", None, "a", 1)
                (victim,) = [known for known in other.client_list(_type="pubsub") if known["name"] == "victim"]
                assert other.client_kill_filter(_id=victim["id"]) == 1
                assert brief(next_message(pubsub)) == ("subscribe", None, "a", 1)
                assert other.publish("a", "after the kill") == 1
                assert brief(next_message(pubsub)) == ("message", None, "a", "after the kill")
                own_server.restart()
                assert brief(next_message(pubsub)) == ("subscribe", None, "a", 1)
                assert other.publish("a", "after the restart") == 1
                assert brief(next_message(pubsub)) == ("message", None, "a", "after the restart")

    def test_transactions(self, server, kind):
        library, family, protocol = kind
        with connect(server, family, protocol) as client:
            with client.pipeline() as pipe:
                assert pipe.set("k", "1").incr("k").get("k").publish("none", "x").execute() == [True, 2, "2", 0]
            with client.pipeline() as pipe:
                pipe.watch("k")
                client.set("k", "changed")
                pipe.multi()
                pipe.get("k")
                with pytest.raises(library.WatchError):
                    pipe.execute()


@pytest.mark.parametrize("kind", ASYNCIO)
class TestAsyncio:
    def test_channels_patterns_and_leaving(self, server, kind):
        family, protocol = kind

        async def run():
            async with connect(server, family, protocol) as client, client.pubsub() as pubsub:

                async def next_brief():
                    return brief(await asyncio.wait_for(arrivals.__anext__(), WAIT_SECONDS))

                arrivals = pubsub.listen()
                await pubsub.subscribe("a")
                await pubsub.psubscribe("a*")
                assert await next_brief() == ("subscribe", None, "a", 1)
                assert await next_brief() == ("psubscribe", None, "a*", 2)
                assert await client.publish("a", "one") == 2
                assert await client.publish("b", "lost") == 0
                assert await next_brief() == ("message", None, "a", "one")
                assert await next_brief() == ("pmessage", "a*", "a", "one")
                await pubsub.unsubscribe("a")
                assert await next_brief() == ("unsubscribe", None, "a", 1)
                assert await client.publish("a", "two") == 1
                assert await next_brief() == ("pmessage", "a*", "a", "two")

        asyncio.run(run())

    def test_many_at_once(self, server, kind):
        family, protocol = kind

        async def run():
            async with connect(server, family, protocol) as client:

                async def listen(ready):
                    async with client.pubsub() as pubsub:
                        await pubsub.subscribe("many")
                        heard = []
                        async for message in pubsub.listen():
                            if message["type"] == "subscribe":
                                ready.set_result(None)
                            elif message["data"] == "end":
                                return heard
                            else:
                                heard.append(message["data"])

                readies = [asyncio.get_running_loop().create_future() for _ in range(20)]
                listeners = [asyncio.create_task(listen(ready)) for ready in readies]
                await asyncio.wait_for(asyncio.gather(*readies), WAIT_SECONDS)
                numbers = [str(number) for number in range(50)]
                for text in [*numbers, "end"]:
                    assert await client.publish("many", text) == 20
                for heard in await asyncio.wait_for(asyncio.gather(*listeners), WAIT_SECONDS):
                    assert heard == numbers

        asyncio.run(run())
