"""arq: a sorted set of jobs by the time they are due, and WATCH with MULTI around each that is sent or taken."""

import asyncio
import dataclasses

import arq
import arq.connections

import flow

# The options of redis-py have the same names here.
settings = dataclasses.replace(arq.connections.RedisSettings.from_dsn(flow.URL), **flow.OPTIONS)


async def note(_context, number: int) -> None:
    flow.note(number)


async def send(number: int) -> None:
    # A connection of its own for each: what one is left with by a killed server is not the next one's.
    pool = await arq.create_pool(settings)
    async with pool:
        await pool.enqueue_job("note", number, _job_id=str(number))


def main() -> None:
    with asyncio.Runner() as runner:
        flow.feed(lambda number: runner.run(send(number)))


class Worker:
    functions = [note]
    redis_settings = settings
    poll_delay = 0.1
