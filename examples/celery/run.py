"""Pictures to resize, for two workers, one of which doesn't survive. Ends when every result is there."""

import os
import pathlib
import signal
import subprocess
import sys
import threading
import time

from celery import chord

from tasks import app, connection, remind, resize, total, upload

HERE = pathlib.Path(__file__).parent
PICTURES = 20
UPLOADS = 3
REMIND_SECONDS = 1
# Each worker's name, and in the middle of which picture of its own it dies; 0 for none.
WORKERS = {"one": 0, "two": 3}
RESULT_SECONDS = 60


def say(text: str) -> None:
    """One write a line, so that the threads' lines don't mix."""
    print(text + "\n", end="", flush=True)


def start_worker(name: str, dies_at: int) -> subprocess.Popen:
    # A pool of one process: when it dies nothing of it goes on.
    options = ["--pool", "solo", "--hostname", f"{name}@pictures", "--loglevel", "error"]
    options += ["--without-gossip", "--without-mingle", "--without-heartbeat"]
    command = [sys.executable, "-m", "celery", "--app", "tasks", "--workdir", str(HERE), "worker", *options]
    env = {**os.environ, "DIES_AT": str(dies_at)}
    worker = subprocess.Popen(command, cwd=HERE, stdout=subprocess.PIPE, text=True, env=env)
    for line in worker.stdout:
        if line == f"{name} is ready\n":
            return worker
    sys.exit(f"{name} did not start")


def follow(name: str, worker: subprocess.Popen) -> None:
    """Passes on what a worker says, and its end."""
    for line in worker.stdout:
        if line.startswith(f"{name} "):
            say(line.rstrip())
    if worker.wait() == -signal.SIGKILL:
        say(f"killed {name}")


def main() -> None:
    connection.expect_server()
    app.control.purge()
    workers = {name: start_worker(name, dies_at) for name, dies_at in WORKERS.items()}
    for name, worker in workers.items():
        threading.Thread(target=follow, args=[name, worker], daemon=True).start()

    try:
        run()
    finally:
        for worker in workers.values():
            worker.terminate()
        for worker in workers.values():
            worker.wait()


def run() -> None:
    results = {"remind": remind.apply_async([time.time() + REMIND_SECONDS], countdown=REMIND_SECONDS)}
    for number in range(1, PICTURES + 1):
        results[f"resize {number}"] = resize.delay(number)
        say(f"sent resize {number}")
    # A retry that a worker can't send, because the server has just gone, Celery gives up (celery.exceptions.Reject).
    for number in range(1, UPLOADS + 1):
        results[f"upload {number}"] = upload.delay(number)
    # Parts in any order, on any worker, and then a task with all their results.
    results["total"] = chord(resize.s(number) for number in range(101, 106))(total.s())
    say("sent all")

    for what, result in results.items():
        say(f"result {what}: {result.get(timeout=RESULT_SECONDS)}")
    for result in results.values():
        result.forget()


if __name__ == "__main__":
    main()
