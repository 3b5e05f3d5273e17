"""The tasks of a picture shop, and where their broker and results are."""

import os
import pathlib
import signal
import sys
import time
import urllib.parse

from celery import Celery
from celery.signals import worker_ready

sys.path.append(str(pathlib.Path(__file__).parents[1] / "python"))
import connection  # noqa: E402  (the address and the certificate, as for the other Python examples)

WORK_SECONDS = 0.05
# The worker dies in the middle of this picture of its own.
DIES_AT = int(os.environ.get("DIES_AT", 0))
# A task whose worker has not acknowledged it for so long goes to another. Far above what any task takes: an hour by
# default, short here so that one can watch.
VISIBILITY_SECONDS = 3


def location() -> str:
    """REDIS_URL, with what Celery wants in it for TLS. The server's certificate is always verified."""
    if not connection.URL.startswith("rediss:"):
        return connection.URL
    options = {"ssl_cert_reqs": "required", **connection.trust()}
    return f"{connection.URL}/0?{urllib.parse.urlencode(options)}"


app = Celery("pictures", broker=location(), backend=location())
app.conf.update(
    # Acknowledged when it is done, not when it is taken: what a killed worker was doing is done once more.
    task_acks_late=True,
    worker_prefetch_multiplier=1,
    broker_transport_options={
        "visibility_timeout": VISIBILITY_SECONDS,
        "unacked_restore_interval": 1,
        "unacked_restore_throttle": 1,
    },
    # Whoever sends a task while the server is away waits for it, and so does who stores a result.
    broker_connection_retry_on_startup=True,
    task_publish_retry_policy={"max_retries": None, "interval_start": 0, "interval_step": 0.1, "interval_max": 1},
    result_backend_always_retry=True,
    worker_redirect_stdouts=False,
)


def say(task, text: str) -> None:
    worker = task.request.hostname.split("@")[0]
    print(f"{worker} {text}\n", end="", flush=True)


@worker_ready.connect
def ready(sender, **_):
    print(f"{sender.hostname.split('@')[0]} is ready\n", end="", flush=True)


resized = 0


@app.task(bind=True)
def resize(self, number: int) -> int:
    """Bears being done twice: the result depends on the number alone."""
    global resized
    say(self, f"began resize {number}")
    time.sleep(WORK_SECONDS)
    resized += 1
    if resized == DIES_AT:
        # As when a machine loses its power: nobody gives back what it had taken.
        os.kill(os.getpid(), signal.SIGKILL)
    return number**2


@app.task(bind=True, autoretry_for=[ConnectionError], retry_backoff=True, retry_jitter=False, max_retries=5)
def upload(self, number: int) -> str:
    """Fails twice, and is tried again after a second and after two."""
    attempt = self.request.retries + 1
    say(self, f"began upload {number}, attempt {attempt}")
    if attempt < 3:
        raise ConnectionError("the shop is not open yet")
    return f"uploaded at attempt {attempt}"


@app.task(bind=True)
def remind(self, due: float) -> float:
    """How late it is, in seconds."""
    say(self, "began remind")
    return time.time() - due


@app.task
def total(parts: list[int]) -> int:
    return sum(parts)
