#!/usr/bin/env python3
"""What a job costs the server: BullMQ and Celery as they are, against Sterna, Redis 8.2 and Valkey 9.1.

    .tools/python/bin/python bench/queues/measure.py                       all loads, all servers, five rounds
    .tools/python/bin/python bench/queues/measure.py --rounds 1 --jobs 500 bullmq

Needs what ./test installs. STERNA_BIN, REDIS8_SERVER and VALKEY_SERVER name the servers; one that is not set is left out.
Each round runs each load once against each server, started anew, in an order that changes from round to round. Reported
are medians: jobs a second, as the client saw it, and the server's time on a processor per job, all its threads
together, from /proc/PID/task/*/schedstat; and which part of that was the kernel's, for the sockets: what no server saves
that is sent one request at a time. The clients are far busier than any server, so the first number says how fast
the libraries are unless a server is slow, and the second what the server costs.
"""

import argparse
import os
import pathlib
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
HOST = "127.0.0.1"
START_SECONDS = 15
LOADS = {
    "bullmq": (["node", str(HERE / "bullmq.js")], 3000),
    "celery": ([sys.executable, str(HERE / "celery_load.py")], 1000),
}


def servers() -> dict[str, list[str]]:
    """Name to command, without what says where to listen."""
    sterna = os.environ.get("STERNA_BIN") or str(HERE.parents[1] / "target/release/sterna")
    known = {f"Sterna, {count} shard{'s'[: count - 1]}": [sterna, "--threads", str(count)] for count in (1, 2)}
    for name, variable in (("Redis 8.2", "REDIS8_SERVER"), ("Valkey 9.1", "VALKEY_SERVER")):
        if variable in os.environ:
            known[name] = [os.environ[variable]]
    return known


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return probe.getsockname()[1]


def start(command: list[str], port: int, folder: str) -> subprocess.Popen:
    options = ["--bind", HOST, "--port", str(port), "--dir", folder, "--save", "", "--appendonly", "no"]
    server = subprocess.Popen([*command, *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and server.poll() is None:
        try:
            socket.create_connection((HOST, port), timeout=1).close()
            return server
        except OSError:
            time.sleep(0.01)
    server.kill()
    sys.exit(f"{command[0]} did not start")


def processor_seconds(pid: int) -> float:
    """Of all threads that live. Reading is not atomic over threads, which is far below a millisecond."""
    tasks = pathlib.Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9


def processor_ticks(pid: int) -> tuple[int, int]:
    """In user space and in the kernel, in units of 10 ms: utime and stime of proc(5)."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    return int(fields[11]), int(fields[12])


def measure(load: list[str], jobs: int, server: list[str]) -> tuple[float, float, float]:
    """Jobs a second, the server's microseconds per job, and the kernel's part of them."""
    with tempfile.TemporaryDirectory() as folder:
        port = free_port()
        process = start(server, port, folder)
        client = subprocess.Popen([*load, str(port), str(jobs)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        try:
            # The load says "ready" once it is warm, waits for a line, and says "done" when every job is.
            expect(client, "ready")
            before, began = processor_seconds(process.pid), time.monotonic()
            user_before, kernel_before = processor_ticks(process.pid)
            print("go", file=client.stdin, flush=True)
            expect(client, "done")
            took, cost = time.monotonic() - began, processor_seconds(process.pid) - before
            user, kernel = processor_ticks(process.pid)
            client.communicate()
        finally:
            client.kill()
            process.kill()
            process.wait()
    user, kernel = user - user_before, kernel - kernel_before
    return jobs / took, cost / jobs * 1e6, kernel / max(user + kernel, 1)


def expect(client: subprocess.Popen, word: str) -> None:
    line = client.stdout.readline().strip()
    if line != word:
        sys.exit(f"the load said {line!r} instead of {word!r}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("loads", nargs="*", choices=[*LOADS, []], help="bullmq, celery; both unless named")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--jobs", type=int, help="jobs of one run")
    arguments = parser.parse_args()

    print("| load | server | jobs a second | server µs a job | spread | in the kernel |")
    print("|---|---|---|---|---|---|")
    for name in arguments.loads or LOADS:
        load, jobs = LOADS[name]
        results = {server: [] for server in servers()}
        for _ in range(arguments.rounds):
            for server, command in random.sample(list(servers().items()), len(results)):
                results[server].append(measure(load, arguments.jobs or jobs, command))
        for server, runs in results.items():
            rates, costs, kernel = zip(*runs)
            print(
                f"| {name} | {server} | {statistics.median(rates):.0f} | {statistics.median(costs):.1f} |"
                f" {min(costs):.1f} to {max(costs):.1f} | {statistics.median(kernel):.0%} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
