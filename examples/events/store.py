"""The events, in a stream: appended in one order, read from the beginning, followed at the tail."""

import os
import pathlib
import sys
from collections.abc import Callable, Iterator

import redis

sys.path.append(str(pathlib.Path(__file__).parents[1] / "python"))
import connection  # noqa: E402  (the address and the certificate, as for the other Python examples)

BEGINNING = "0-0"
PAGE = 100
"""Entries asked for at a time, so that a long history is neither one reply nor one list."""

Event = dict[str, str]


class EventStore:
    def __init__(self, key: str) -> None:
        self._key = key
        connection.expect_server()
        # Who follows waits for the next event for as long as it takes; the library would give up after some seconds.
        self._client = redis.Redis.from_url(connection.URL, socket_timeout=None, **connection.options(3))

    def since(self, last: str) -> Iterator[tuple[str, Event]]:
        """Every event after the entry ID `last`, oldest first, up to now."""
        while page := self._client.xrange(self._key, min=f"({last}", count=PAGE):
            yield from page
            last = page[-1][0]

    def follow(self, last: str) -> Iterator[tuple[str, Event]]:
        """Every event after `last`, for ever: those that are there, and each new one as it comes."""
        while True:
            # The ID of the last one seen, never `$`: that would skip what comes between two reads.
            for _key, entries in self._read(last):
                for id, event in entries:
                    yield id, event
                    last = id

    def _read(self, last: str) -> list:
        answer = self._client.xread({self._key: last}, count=PAGE, block=0)
        # RESP3 answers a map of keys, each with a list of pages; RESP2 a list of pairs.
        return [(key, pages[0]) for key, pages in answer.items()] if isinstance(answer, dict) else answer

    def append(self, decide: Callable[[], Event]) -> str:
        """Appends what `decide` says, given that nothing has been appended since it looked; else it is asked again."""

        def attempt(pipeline: redis.client.Pipeline) -> None:
            event = decide()
            pipeline.multi()
            pipeline.xadd(self._key, event)

        [id] = self._client.transaction(attempt, self._key)
        return id
