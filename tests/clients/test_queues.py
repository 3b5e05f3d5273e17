"""Job queues in Python, as they are: a producer, a worker, and a server that is killed in the middle of both.

Every task that was acknowledged must be done. Libraries that soon give a dead worker's tasks to another are also robbed
of their worker; of the others, a task that was on its way to a worker when either was killed is lost by their own design,
or done much later, so those work only before and after.
"""

import itertools
import pathlib
import subprocess
import sys
import time

import pytest
from conftest import TIED

QUEUES = pathlib.Path(__file__).with_name("queues")
# arq wants an older redis-py, which has a folder of its own.
OLDER = {"arq_queue": pathlib.Path(__file__).parents[2] / ".tools/arq"}
WAIT_SECONDS = 60
SENDS_EVERY_SECONDS = 1

# Name of the module in queues/, and the command of its worker.
SOON_AGAIN = {
    "dramatiq_queue": ["-m", "dramatiq", "--processes", "1", "--threads", "2", "dramatiq_queue"],
    "taskiq_queue": ["-m", "taskiq", "worker", "--workers", "1", "--log-level", "ERROR", "taskiq_queue:broker"],
}
BEFORE_AND_AFTER = {
    "arq_queue": ["-m", "arq", "arq_queue.Worker"],
    "rq_queue": ["-c", "import rq_queue; rq_queue.work()"],
    "huey_queue": ["-m", "huey.bin.huey_consumer", "huey_queue.huey", "--workers", "2", "--quiet"],
}


class Queue:
    """A library's producer and worker, as processes that are gone when the test is over."""

    def __init__(self, server, folder: pathlib.Path, module: str, worker: list[str]):
        self.done_file, self._log = folder / "done", folder / "queue.log"
        path = ":".join(str(folder) for folder in (QUEUES, OLDER.get(module)) if folder)
        self._env = {**server.env, "DONE": str(self.done_file), "PYTHONPATH": path}
        self._module, self._worker, self._producer, self._running = module, worker, None, []

    def _start(self, arguments: list[str], **options) -> subprocess.Popen:
        with self._log.open("ab") as log:
            # A session of its own, so that a worker is killed with all its processes.
            options = {"stdout": log, "stderr": log, "start_new_session": True, **options}
            process = subprocess.Popen([*TIED, sys.executable, *arguments], cwd=QUEUES, env=self._env, **options)
        self._running.append(process)
        return process

    def send(self, numbers, meanwhile=lambda: None) -> set[int]:
        """Has the producer send a task for each number, does something else, answers when all are acknowledged."""
        if self._producer is None:
            command = ["-c", f"import {self._module}; {self._module}.main()"]
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
            self._producer = self._start(command, text=True, bufsize=1, **pipes)
        for number in numbers:
            self._producer.stdin.write(f"{number}\n")
        meanwhile()
        for number in numbers:
            assert self._producer.stdout.readline() == f"{number}\n", self._log.read_text()[-4000:]
        return set(numbers)

    def start_worker(self) -> subprocess.Popen:
        return self._start(self._worker)

    def kill(self, process: subprocess.Popen) -> None:
        subprocess.run(["kill", "-KILL", "--", f"-{process.pid}"], check=False, stderr=subprocess.DEVNULL)
        process.wait()

    def done(self) -> list[int]:
        return [int(line) for line in self.done_file.read_bytes().split()] if self.done_file.exists() else []

    def wait_until_done(self, wanted: set[int], worker: subprocess.Popen, more=iter(())) -> subprocess.Popen:
        """Waits, and starts the worker again when it ends, as a supervisor would. Meanwhile it sends one of `more` now
        and then: taskiq looks for what a dead worker left only after it got something new."""
        deadline = time.monotonic() + WAIT_SECONDS
        sends_at = time.monotonic() + SENDS_EVERY_SECONDS
        while not wanted <= set(self.done()):
            if time.monotonic() > sends_at:
                self.send(list(itertools.islice(more, 1)))
                sends_at = time.monotonic() + SENDS_EVERY_SECONDS
            if time.monotonic() > deadline:
                missing = sorted(wanted - set(self.done()))
                pytest.fail(f"not done: {missing}\n{self._log.read_text()[-4000:]}")
            if worker.poll() is not None:
                worker = self.start_worker()
            time.sleep(0.02)
        return worker

    def close(self) -> None:
        for process in self._running:
            self.kill(process)
            for pipe in filter(None, (process.stdin, process.stdout)):
                pipe.close()


@pytest.fixture
def queue(request, durable_server, tmp_path):
    queue = Queue(durable_server, tmp_path, *request.param)
    yield queue
    queue.close()


def libraries(of):
    return pytest.mark.parametrize("queue", of.items(), ids=of, indirect=True)


@libraries(SOON_AGAIN)
def test_what_a_killed_worker_and_a_killed_server_were_doing_is_done_once_more(queue, durable_server):
    sent = queue.send(range(10))
    worker = queue.wait_until_done({0}, queue.start_worker())
    sent |= queue.send(range(10, 20), meanwhile=durable_server.crash)
    worker = queue.wait_until_done({10}, worker)
    queue.kill(worker)
    sent |= queue.send(range(20, 30))
    queue.wait_until_done(sent, queue.start_worker(), more=itertools.count(30))


@libraries(BEFORE_AND_AFTER)
def test_what_was_sent_before_and_after_a_kill_is_done(queue, durable_server):
    sent = queue.send(range(10))
    worker = queue.wait_until_done(sent, queue.start_worker())
    queue.kill(worker)

    sent |= queue.send(range(10, 20))
    durable_server.crash()
    sent |= queue.send(range(20, 30))
    queue.wait_until_done(sent, queue.start_worker())
    assert sorted(queue.done()) == sorted(sent), "each is done once"
