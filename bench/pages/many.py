#!/usr/bin/env python3
"""As many pages at once as a machine holds: how much memory they take, and how long a message takes to reach all of them.

    .tools/python/bin/python bench/pages/many.py [KIND] [PAGES] [SERVERS]       sse 100000 6

Where the limit on descriptors (`ulimit -n`) is lower than the pages, they are shared among several servers, and each server has
a program of its own that opens its pages. Kinds are those of measure.py. Needs a release build; STERNA_BIN names another.
"""

import multiprocessing
import resource
import sys
import tempfile
import time

from measure import KINDS, SETTLE_S, TEXT, Pages, cpu_us, rss_bytes

PATIENCE_S = 1200


def run(name: str, count: int, gate, results) -> None:
    kind = KINDS[name]()
    with tempfile.TemporaryDirectory() as folder:
        kind.start(folder)
        none, began = rss_bytes(kind.process.pid), time.time()
        pages = Pages(kind, count)
        opened_s, cpu_opening = time.time() - began, cpu_us(kind.process.pid)
        gate.wait(PATIENCE_S)
        time.sleep(SETTLE_S)
        memory = rss_bytes(kind.process.pid) - none
        gate.wait(PATIENCE_S)
        began = time.time()
        kind.publish(1)
        least, got = count * len(TEXT), 0
        while got < least:
            got += pages.read(1)
        results.put((memory, opened_s, cpu_opening, time.time() - began))
        gate.wait(PATIENCE_S)
        kind.process.kill()
        kind.process.wait()


def main() -> None:
    name, pages, servers = (sys.argv[1:] + ["sse", "100000", "6"][len(sys.argv) - 1 :])[:3]
    pages, servers = int(pages), int(servers)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    each = -(-pages // servers)
    gate, results = multiprocessing.Barrier(servers), multiprocessing.Queue()
    programs = [multiprocessing.Process(target=run, args=(name, each, gate, results)) for _ in range(servers)]
    for program in programs:
        program.start()
    rows = [results.get(timeout=PATIENCE_S) for _ in programs]
    memory, opened_s, cpu_opening, reached_s = zip(*rows)
    print(f"{each * servers} pages ({name}) on {servers} server{'s' if servers > 1 else ''}")
    print(f"  {sum(memory) / each / servers / 1024:.2f} KiB of resident memory a page, all that the servers grew by")
    print(f"  opened in {max(opened_s):.0f} s, with {sum(cpu_opening) / each / servers:.0f} µs of the servers' time a page")
    print(f"  one message to each server has reached all pages after {max(reached_s) * 1000:.0f} ms")
    for program in programs:
        program.join()


if __name__ == "__main__":
    main()
