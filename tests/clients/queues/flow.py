"""What the queues in this folder share: where the server is, what a task does, and a producer that is not put off.

REDIS_URL and REDIS_CA say where, DONE names the file in which each task notes its number.
"""

import os
import sys
import time

import redis

URL = os.environ["REDIS_URL"]
OPTIONS = {"ssl_ca_certs": os.environ["REDIS_CA"]} if URL.startswith("rediss:") else {}
RETRY_SECONDS = 0.05
PAUSE_SECONDS = 0.02


def note(number: int) -> None:
    """The work: one write of one line, so that it is there or not."""
    time.sleep(PAUSE_SECONDS)
    with open(os.environ["DONE"], "ab", buffering=0) as file:
        file.write(b"%d\n" % number)


def feed(send) -> None:
    """Sends a task for each number it reads, and says so once that is acknowledged.

    What may not have arrived is sent again.
    """
    for number in map(int, sys.stdin):
        while True:
            try:
                send(number)
                break
            except (ConnectionError, redis.ConnectionError, redis.TimeoutError):
                time.sleep(RETRY_SECONDS)
        print(number, flush=True)
