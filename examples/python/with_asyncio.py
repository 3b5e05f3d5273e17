"""redis-py with asyncio: one task listens, another publishes."""

import asyncio
import json
import sys

import redis.asyncio as redis

import connection


async def listen(pubsub) -> None:
    """Runs as a task until somebody says goodbye."""
    async for message in pubsub.listen():
        if message["type"] not in ("message", "pmessage"):
            continue
        pattern = message["pattern"] or "-"
        said = json.loads(message["data"])
        print(f"received  {pattern}  {message['channel']}  {said['text']}", flush=True)
        if said["text"] == "goodbye" and message["type"] == "pmessage":
            break


async def main(protocol: int) -> None:
    client = redis.Redis.from_url(connection.URL, **connection.options(protocol))
    async with client, client.pubsub() as pubsub:
        await pubsub.subscribe("notifications")
        await pubsub.psubscribe("chat:*")
        while (await pubsub.get_message(timeout=60))["type"] != "psubscribe":
            pass
        print(f"subscribed over RESP{protocol}", flush=True)

        listener = asyncio.create_task(listen(pubsub))
        for channel, text in [
            ("notifications", "Version 1.2 is live"),
            ("chat:general", "Grüße, everyone 👋"),
            ("weather", "nobody listens to this"),
            ("chat:general", "goodbye"),
        ]:
            receivers = await client.publish(channel, json.dumps({"text": text}))
            print(f"sent      {channel}  to {receivers}", flush=True)
        await listener


if __name__ == "__main__":
    connection.expect_server()
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 3))
