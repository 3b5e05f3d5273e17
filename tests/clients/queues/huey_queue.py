"""huey: a list, a sorted set of what is due later, a script that takes what is due."""

import redis
from huey import RedisHuey

import flow

huey = RedisHuey("flow", connection_pool=redis.ConnectionPool.from_url(flow.URL, **flow.OPTIONS), results=False)


@huey.task()
def note(number: int) -> None:
    flow.note(number)


def send(number: int) -> None:
    """Every third is due in a second."""
    note.schedule([number], delay=1) if number % 3 == 0 else note(number)


def main() -> None:
    flow.feed(send)
