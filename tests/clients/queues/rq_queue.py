"""rq: lists with an intermediate queue, hashes of jobs, registries in sorted sets, WATCH."""

import redis
import rq

import flow

queue = rq.Queue(connection=redis.Redis.from_url(flow.URL, **flow.OPTIONS))


def main() -> None:
    flow.feed(lambda number: queue.enqueue(flow.note, number))


def work() -> None:
    rq.SimpleWorker([queue], connection=queue.connection).work(logging_level="ERROR")
