"""dramatiq: one script for all, which finds dead workers by their heartbeats."""

import dramatiq
import redis
from dramatiq.brokers.redis import RedisBroker

import flow

# Every command looks for dead workers here, instead of one in a thousand, and a second of silence is enough.
broker = RedisBroker(
    client=redis.Redis.from_url(flow.URL, **flow.OPTIONS), heartbeat_timeout=1000, maintenance_chance=1_000_000
)
dramatiq.set_broker(broker)
note = dramatiq.actor(flow.note)


def main() -> None:
    flow.feed(note.send)
