"""coredis: RESP3 from the first byte, on anyio."""

import asyncio
import ssl

import coredis

WAIT_SECONDS = 60


def test_handshake_publish_and_both_kinds_of_subscription(server):
    async def run():
        context = ssl.create_default_context(cafile=server.cert)
        client = coredis.Redis(
            host=server.host, port=server.tls_port, password=server.password, ssl_context=context, decode_responses=True
        )
        async with client:
            assert await client.ping() == "PONG"
            async with client.pubsub(channels=["a"], patterns=["a*"]) as pubsub:
                assert await client.publish("a", "one") == 2
                assert await client.publish("b", "lost") == 0
                heard = []
                async for message in pubsub:
                    if message["type"] in ("message", "pmessage"):
                        heard.append((message["type"], message["pattern"], message["channel"], message["data"]))
                    if len(heard) == 2:
                        break
                assert heard == [("message", None, "a", "one"), ("pmessage", "a*", "a", "one")]

    asyncio.run(asyncio.wait_for(run(), WAIT_SECONDS))
