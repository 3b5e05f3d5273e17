"""Celery's load: celery_load.py PORT JOBS. Says "ready", waits for a line, says "done" when every result is there."""

import pathlib
import subprocess
import sys

from celery import Celery

WARM = 20

app = Celery("load", broker="redis://127.0.0.1", backend="redis://127.0.0.1")
app.conf.update(task_acks_late=True, worker_hijack_root_logger=False)


@app.task(name="square")
def square(number: int, text: str) -> int:
    return number**2


def run(count: int) -> None:
    results = [square.delay(number, "x" * 100) for number in range(count)]
    for number, result in enumerate(results):
        assert result.get(timeout=60) == number**2


def main(port: str, jobs: int) -> None:
    url = f"redis://127.0.0.1:{port}/0"
    app.conf.update(broker_url=url, result_backend=url)
    options = ["--pool", "solo", "--loglevel", "critical", "--without-gossip", "--without-mingle", "--without-heartbeat"]
    command = [sys.executable, "-W", "ignore", "-m", "celery", "--app", "celery_load", "--broker", url]
    command += ["--result-backend", url, "worker", *options]
    worker = subprocess.Popen(command, cwd=pathlib.Path(__file__).parent, stdout=subprocess.DEVNULL)
    try:
        run(WARM)
        print("ready", flush=True)
        sys.stdin.readline()
        run(jobs)
        print("done", flush=True)
    finally:
        worker.kill()
        worker.wait()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
