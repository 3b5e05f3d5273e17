"""taskiq: a stream with a consumer group; what is not acknowledged is claimed, under a lock made of a script."""

import asyncio

from taskiq.exceptions import SendTaskError
from taskiq_redis import RedisStreamBroker

import flow

broker = RedisStreamBroker(
    flow.URL, consumer_id="0", idle_timeout=1000, unacknowledged_lock_timeout=2, xread_block=200, **flow.OPTIONS
)


@broker.task
def note(number: int) -> None:
    flow.note(number)


def main() -> None:
    # One loop for all: the broker's connections belong to it.
    loop = asyncio.new_event_loop()
    loop.run_until_complete(broker.startup())

    def send(number: int) -> None:
        try:
            loop.run_until_complete(note.kiq(number))
        except SendTaskError as error:
            raise ConnectionError from error

    flow.feed(send)
    loop.run_until_complete(broker.shutdown())
