"""Locks of redis-py and valkey-py: scripts that compare the owner and extend or delete in one step."""

import asyncio
import threading

import pytest
import redis
import redis.asyncio
import valkey

# Longer than any test takes: no lock here ends by itself unless the test says so.
HELD_SECONDS = 300
WAIT_SECONDS = 60

KINDS = [
    pytest.param((library, family, protocol), id=f"{name}-resp{protocol}")
    for name, library, family in [("redis", redis, redis.Redis), ("valkey", valkey, valkey.Valkey)]
    for protocol in (2, 3)
]


def connect(server, family, protocol, **options):
    options = {"ssl_ca_certs": server.cert, **options} if server.url.startswith("rediss:") else options
    url = server.url
    if family is valkey.Valkey:
        url = url.replace("redis", "valkey", 1)
    return family.from_url(url, protocol=protocol, **options)


@pytest.mark.parametrize("kind", KINDS)
class TestLock:
    def test_one_holds_it_until_it_gives_it_back(self, server, kind):
        library, family, protocol = kind
        with connect(server, family, protocol) as one, connect(server, family, protocol) as other:
            held, wanted = (client.lock("lock:one", timeout=HELD_SECONDS) for client in (one, other))
            assert held.acquire(blocking=False)
            assert not wanted.acquire(blocking=False)
            assert held.owned() and wanted.locked() and not wanted.owned()
            assert held.extend(60) and HELD_SECONDS < one.ttl("lock:one") <= HELD_SECONDS + 60
            assert held.reacquire() and one.ttl("lock:one") <= HELD_SECONDS
            held.release()
            assert wanted.acquire(blocking=False)
            with pytest.raises(library.exceptions.LockError):
                held.release()
            wanted.release()
            assert one.exists("lock:one") == 0

    def test_who_has_lost_it_can_not_give_back_another_s(self, server, kind):
        library, family, protocol = kind
        with connect(server, family, protocol) as one, connect(server, family, protocol) as other:
            lost, held = (client.lock("lock:lost", timeout=HELD_SECONDS) for client in (one, other))
            assert lost.acquire(blocking=False)
            one.delete("lock:lost")
            assert held.acquire(blocking=False)
            for attempt in (lost.release, lambda: lost.extend(60), lost.reacquire):
                with pytest.raises(library.exceptions.LockError):
                    attempt()
            assert held.owned()
            held.release()

    def test_many_count_and_none_is_lost(self, server, kind):
        _, family, protocol = kind
        with connect(server, family, protocol) as client:
            client.set("counted", 0)

            def count():
                for _ in range(10):
                    with client.lock("lock:count", timeout=HELD_SECONDS, sleep=0.001, blocking_timeout=WAIT_SECONDS):
                        client.set("counted", int(client.get("counted")) + 1)

            threads = [threading.Thread(target=count) for _ in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(WAIT_SECONDS)
            assert client.get("counted") == b"40"

    def test_a_server_that_is_killed_knows_who_holds_it(self, durable_server, kind):
        library, family, protocol = kind
        retry = library.retry.Retry(library.backoff.ExponentialBackoff(cap=1, base=0.01), 10)
        options = {"retry": retry, "retry_on_error": [library.ConnectionError]}
        with connect(durable_server, family, protocol, **options) as client:
            held = client.lock("lock:kept", timeout=HELD_SECONDS)
            assert held.acquire(blocking=False)
            durable_server.crash()
            # The scripts are gone with the process, and the library loads them again.
            assert not client.lock("lock:kept").acquire(blocking=False)
            assert held.owned() and held.extend(60)
            held.release()
            assert client.exists("lock:kept") == 0


@pytest.mark.parametrize("protocol", [2, 3])
def test_tasks_of_asyncio_take_turns(server, protocol):
    async def run():
        async with connect(server, redis.asyncio.Redis, protocol) as client:
            await client.set("turns", 0)

            async def count():
                for _ in range(10):
                    async with client.lock("lock:turns", timeout=HELD_SECONDS, sleep=0.001):
                        await client.set("turns", int(await client.get("turns")) + 1)

            await asyncio.wait_for(asyncio.gather(*(count() for _ in range(4))), WAIT_SECONDS)
            assert await client.get("turns") == b"40"

    asyncio.run(run())
