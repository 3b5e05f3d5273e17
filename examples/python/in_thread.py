"""redis-py with a thread that listens while the main thread does something else."""

import json
import sys
import threading

import redis

import connection


def say(text: str) -> None:
    """One write a line, so that the two threads' lines don't mix."""
    print(text + "\n", end="", flush=True)


def listen(pubsub) -> None:
    """Runs in the thread until somebody says goodbye."""
    for message in pubsub.listen():
        # Confirmations come the same way as messages; their type tells them apart.
        if message["type"] not in ("message", "pmessage"):
            continue
        pattern = message["pattern"] or "-"
        said = json.loads(message["data"])
        say(f"received  {pattern}  {message['channel']}  {said['text']}")
        if said["text"] == "goodbye" and message["type"] == "pmessage":
            break


def main(protocol: int) -> None:
    connection.expect_server()
    client = redis.Redis.from_url(connection.URL, **connection.options(protocol))
    with client, client.pubsub() as pubsub:
        pubsub.subscribe("notifications")
        pubsub.psubscribe("chat:*")
        # Both confirmations first, so that nothing published below comes too early to be seen.
        while pubsub.get_message(timeout=60)["type"] != "psubscribe":
            pass
        say(f"subscribed over RESP{protocol}")

        listener = threading.Thread(target=listen, args=[pubsub])
        listener.start()
        for channel, text in [
            ("notifications", "Version 1.2 is live"),
            ("chat:general", "Grüße, everyone 👋"),
            ("weather", "nobody listens to this"),
            ("chat:general", "goodbye"),
        ]:
            receivers = client.publish(channel, json.dumps({"text": text}))
            say(f"sent      {channel}  to {receivers}")
        listener.join()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 3)
