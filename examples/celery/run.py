"""Pictures to resize, for two workers, one of which doesn't survive. Ends when every result is there."""

import os
import pathlib
import subprocess
import sys
import threading
import time

from celery import chord

from tasks import app, remind, resize, total, upload

HERE = pathlib.Path(__file__).parent
PICTURES = 20
UPLOADS = 3
REMIND_SECONDS = 1
VICTIM = "two"
# The victim is killed in the middle of this task of its own.
KILL_AT = 4
RESULT_SECONDS = 60


def say(text: str) -> None:
    """One write a line, so that the threads' lines don't mix."""
    print(text + "\n", end="", flush=True)


def start_worker(name: str) -> subprocess.Popen:
    # A pool of one process: whoever kills it leaves nothing of it running.
    options = ["--pool", "solo", "--hostname", f"{name}@pictures", "--loglevel", "error"]
    options += ["--without-gossip", "--without-mingle", "--without-heartbeat"]
    command = [sys.executable, "-m", "celery", "--app", "tasks", "--workdir", str(HERE), "worker", *options]
    return subprocess.Popen(command, cwd=HERE, stdout=subprocess.PIPE, text=True, env=os.environ)


def follow(name: str, worker: subprocess.Popen) -> None:
    """Passes on what a worker says, and kills the victim."""
    begun = 0
    for line in worker.stdout:
        if not line.startswith(f"{name} "):
            continue
        say(line.rstrip())
        begun += 1
        if name == VICTIM and begun == KILL_AT:
            # SIGKILL, as when a machine loses its power: nobody gives back what it had taken.
            worker.kill()
            worker.wait()
            say(f"killed {VICTIM}")


def main() -> None:
    app.control.purge()
    workers = {name: start_worker(name) for name in ("one", "two")}
    for name, worker in workers.items():
        threading.Thread(target=follow, args=[name, worker], daemon=True).start()

    results = {"remind": remind.apply_async([time.time() + REMIND_SECONDS], countdown=REMIND_SECONDS)}
    for number in range(1, UPLOADS + 1):
        results[f"upload {number}"] = upload.delay(number)
    for number in range(1, PICTURES + 1):
        results[f"resize {number}"] = resize.delay(number)
        say(f"sent resize {number}")
    # Parts in any order, on any worker, and then a task with all their results.
    results["total"] = chord(resize.s(number) for number in range(101, 106))(total.s())
    say("sent all")

    for what, result in results.items():
        say(f"result {what}: {result.get(timeout=RESULT_SECONDS)}")
    for worker in workers.values():
        worker.terminate()
        worker.wait()
    for result in results.values():
        result.forget()


if __name__ == "__main__":
    main()
