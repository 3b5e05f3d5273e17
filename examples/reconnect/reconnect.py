"""A subscriber that survives a lost connection and a restarted server. Ctrl-C ends it."""

import pathlib
import sys
import threading
import time

import redis
from redis.backoff import ExponentialBackoff
from redis.retry import Retry

sys.path.append(str(pathlib.Path(__file__).parents[1] / "python"))
import connection  # noqa: E402  (the address and the certificate, as for the other Python examples)

TICK_SECONDS = 0.25
KILL_AT = 3


def connect(name: str, retries: int) -> redis.Redis:
    """A client that tries again `retries` times, -1 for ever, with pauses of at most a second."""
    return redis.Redis.from_url(
        connection.URL,
        client_name=name,
        decode_responses=True,
        retry=Retry(ExponentialBackoff(cap=1, base=0.05), retries),
        retry_on_error=[redis.ConnectionError, redis.TimeoutError],
        **connection.trust(),
    )


def say(text: str) -> None:
    """One write a line, so that the two threads' lines don't mix."""
    print(text + "\n", end="", flush=True)


def listen(listening: threading.Event) -> None:
    """Prints what arrives, for ever. redis-py reconnects and subscribes again inside `listen()`."""
    pubsub = connect("reconnect-subscriber", retries=-1).pubsub()
    pubsub.subscribe("ticks")
    last = 0
    for message in pubsub.listen():
        if message["type"] == "subscribe":
            # Comes again after each reconnect: the server confirms the new connection's subscription.
            say("subscribed")
            listening.set()
            continue
        tick = int(message["data"])
        if last and tick > last + 1:
            say(f"missed {last + 1} to {tick - 1}")
        say(f"tick {tick}")
        last = tick


def kill_subscriber(publisher: redis.Redis) -> None:
    for client in publisher.client_list(_type="pubsub"):
        if client["name"] == "reconnect-subscriber":
            publisher.client_kill_filter(_id=client["id"])
            say(f"killed client {client['id']}")


def main() -> None:
    connection.expect_server()
    listening = threading.Event()
    threading.Thread(target=listen, args=[listening], daemon=True).start()
    listening.wait()
    publisher = connect("reconnect-publisher", retries=0)
    tick = 0
    while True:
        tick += 1
        try:
            publisher.publish("ticks", tick)
            if tick == KILL_AT:
                kill_subscriber(publisher)
        except redis.ConnectionError as error:
            say(f"not sent: {error}")
        time.sleep(TICK_SECONDS)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        pass
