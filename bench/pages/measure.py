#!/usr/bin/env python3
"""What a page costs a server: memory of an idle one, and time on a processor for each message that it is sent.

    .tools/python/bin/python bench/pages/measure.py                     all kinds, 2000 pages, three rounds
    .tools/python/bin/python bench/pages/measure.py --pages 18000 --messages 0 resp sse pusher
    .tools/python/bin/python bench/pages/measure.py --pages 1000 --settle 0 --rounds 9 resp sse pusher

Kinds: subscribers of the Redis protocol (of a channel that remembers as well), server-sent events, server-sent events of one and of two channels that remember, Pusher's
protocol, and Socket.IO (its own server, without adapter, WebSocket alone). Each is a process of its own, started anew for each round.
Memory is the growth of VmRSS by a page, from the first thousand on (a tenth of fewer than that), each time once the allocator has
given back what it took to let them in (`--settle` seconds); beside it stands the growth from before the first page, by all pages, which
counts what the server needs for pages as such. Time is that of all threads, from /proc/PID/task/*/schedstat, over 100-byte messages published in
bursts of 50. Latency is from before PUBLISH to the last of all pages having read, of one message at a time. Needs what ./test installs.
"""

import argparse
import base64
import os
import pathlib
import resource
import selectors
import socket
import statistics
import struct
import subprocess
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
HOST = "127.0.0.1"
BURST = 50
TEXT = b"x" * 100

# The allocator gives back within ten seconds what is not used any more.
SETTLE_S = 12.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return probe.getsockname()[1]


def request(*args: bytes) -> bytes:
    return b"*%d\r\n" % len(args) + b"".join(b"$%d\r\n%s\r\n" % (len(arg), arg) for arg in args)


def masked(text: bytes) -> bytes:
    """A short frame of a client, whose mask changes nothing."""
    return struct.pack("!BBI", 0x81, 0x80 | len(text), 0) + text


def upgrade(path: str) -> bytes:
    key = base64.b64encode(b"0123456789abcdef").decode()
    return (
        f"GET {path} HTTP/1.1\r\nHost: {HOST}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n"
    ).encode()


class Sterna:
    """Pages that connect by `opening`, and are there when they have read `there`."""

    def __init__(self, opening: bytes, there: bytes, over_http: bool = True):
        self.steps, self.over_http = [(opening, there)], over_http

    def start(self, folder: str) -> None:
        self.port, self.http = free_port(), free_port()
        binary = os.environ.get("STERNA_BIN") or str(HERE.parents[1] / "target/release/sterna")
        self.process = subprocess.Popen(
            [binary, "--port", str(self.port), "--http-port", str(self.http), "--threads", "2", "--save", "", "--appendonly", "no", "--dir", folder,
             "--pusher-app", "1 key secret", "--retain", "kept* maxlen 1000", "--maxclients", "200000"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )
        self.control = connect(self.port)
        connect(self.http).close()

    def page_port(self) -> int:
        return self.http if self.over_http else self.port

    def publish(self, count: int) -> None:
        channel = b"kept" if b"kept" in self.steps[0][0] else b"news"
        self.control.sendall(request(b"PUBLISH", channel, TEXT) * count)
        left = count
        while left:
            left -= self.control.recv(1 << 16).count(b"\n")


class SocketIo:
    """Socket.IO over WebSockets: the handshake of Engine.IO, then that of the namespace."""

    over_http = True
    steps = [(upgrade("/socket.io/?EIO=4&transport=websocket"), b'"maxPayload"'), (masked(b"40"), b'40{"sid"')]

    def start(self, folder: str) -> None:
        self.http, control = free_port(), free_port()
        program = HERE.parent / "drops/socket-io.js"
        code = (
            f"process.argv.splice(2, 3, '{self.http}', '0', 'none'); await import('{program}');"
            "const { createServer } = await import('node:net');"
            "createServer((socket) => socket.on('data', (data) => { for (const byte of data) {"
            f" process.emit('message', '{TEXT.decode()}'); socket.write('\\n'); }} }})).listen({control}, '{HOST}');"
        )
        self.process = subprocess.Popen(["node", "--input-type=module", "-e", code, "-", "-", "-"], stdout=subprocess.DEVNULL)
        self.control = connect(control)

    def page_port(self) -> int:
        return self.http

    def publish(self, count: int) -> None:
        self.control.sendall(b"x" * count)
        left = count
        while left:
            left -= len(self.control.recv(1 << 16))


def connect(port: int) -> socket.socket:
    for _ in range(2000):
        try:
            return socket.create_connection((HOST, port))
        except OSError:
            time.sleep(0.01)
    raise SystemExit(f"nobody listens on port {port}")


def events(query: str) -> bytes:
    return f"GET /v1/events?{query} HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode()


KINDS = {
    "resp": lambda: Sterna(request(b"SUBSCRIBE", b"news"), b":1\r\n", over_http=False),
    "resp-kept": lambda: Sterna(request(b"SUBSCRIBE", b"kept"), b":1\r\n", over_http=False),
    "sse": lambda: Sterna(events("channel=news"), b"event: resume"),
    "sse-kept": lambda: Sterna(events("channel=kept"), b"event: resume"),
    "sse-kept-two": lambda: Sterna(events("channel=kept&channel=kept2"), b"event: resume"),
    "pusher": lambda: PusherPages(),
    "socket.io": SocketIo,
}


class PusherPages(Sterna):
    """Pages by Pusher's protocol."""

    def __init__(self):
        super().__init__(upgrade("/app/key?protocol=7"), b"connection_established")
        said = b'{"event":"pusher:subscribe","data":{"channel":"news"}}'
        self.steps.append((masked(said), b"subscription_succeeded"))


def cpu_us(pid: int) -> float:
    """What all threads have had of a processor."""
    threads = pathlib.Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(one.read_text().split()[0]) for one in threads) / 1000


def rss_bytes(pid: int) -> int:
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) * 1024


class Pages:
    def __init__(self, kind, count: int):
        self.kind, self.selector, self.sockets = kind, selectors.DefaultSelector(), []
        self.grow_to(count)

    def grow_to(self, count: int) -> None:
        # In portions, so that no backlog of connections is full.
        while len(self.sockets) < count:
            self.open(min(200, count - len(self.sockets)))

    def open(self, count: int) -> None:
        new = [socket.create_connection((HOST, self.kind.page_port())) for _ in range(count)]
        for said, there in self.kind.steps:
            for page in new:
                page.sendall(said)
            for page in new:
                text = b""
                while there not in text:
                    text += page.recv(4096)
        for page in new:
            page.setblocking(False)
            self.selector.register(page, selectors.EVENT_READ)
        self.sockets += new

    def read(self, wait: float) -> int:
        """Bytes that have come."""
        total = 0
        for key, _ in self.selector.select(wait):
            try:
                total += len(key.fileobj.recv(1 << 20))
            except BlockingIOError:
                pass
        return total

    def read_all(self) -> int:
        total, quiet = 0, 0
        while quiet < 3:
            got = self.read(0.1)
            total, quiet = total + got, 0 if got else quiet + 1
        return total

    def close(self) -> None:
        for page in self.sockets:
            page.close()


def latencies_ms(pages: Pages, count: int) -> list[float]:
    """Of so many messages, one at a time: how long until all pages have read one."""
    pages.kind.publish(1)
    size = pages.read_all()
    found = []
    for _ in range(count):
        began, got = time.perf_counter(), 0
        pages.kind.publish(1)
        # Longer numbers in an ID may make it a few bytes longer.
        while got < size - 4 * len(pages.sockets):
            got += pages.read(1)
        found.append((time.perf_counter() - began) * 1000)
        pages.read(0)
    return found


def measure(make, count: int, messages: int, settle_s: float) -> tuple[float, float, float, float]:
    """Bytes a page, the same with what all share, microseconds a delivery, and the 99th percentile of latencies in milliseconds."""
    kind = make()
    with tempfile.TemporaryDirectory() as folder:
        kind.start(folder)
        none = rss_bytes(kind.process.pid)
        first = min(1000, count // 10)
        pages = Pages(kind, first)
        time.sleep(settle_s)
        few = rss_bytes(kind.process.pid)
        pages.grow_to(count)
        time.sleep(settle_s)
        all_of_them = rss_bytes(kind.process.pid)
        latency = statistics.quantiles(latencies_ms(pages, 100), n=100)[98] if messages else 0
        began = cpu_us(kind.process.pid)
        for _ in range(messages // BURST):
            kind.publish(BURST)
            pages.read(0)
        pages.read_all()
        time_us = (cpu_us(kind.process.pid) - began) / max(1, count * messages)
        pages.close()
        kind.process.kill()
        kind.process.wait()
    return (all_of_them - few) / (count - first), (all_of_them - none) / count, time_us, latency


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("kinds", nargs="*", default=list(KINDS), help=", ".join(KINDS))
    arguments.add_argument("--pages", type=int, default=2000)
    arguments.add_argument("--messages", type=int, default=1000)
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--settle", type=float, default=SETTLE_S)
    given = arguments.parse_args()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    results = {name: [] for name in given.kinds}
    for _ in range(given.rounds):
        for name, rows in results.items():
            rows.append(measure(KINDS[name], given.pages, given.messages, given.settle))
    print(f"| {given.pages} pages | KiB a page | with what all share | µs a delivery | p99, ms, until all have read |\n|---|---|---|---|---|")
    for name, rows in results.items():
        memory, shared, time_us, latency = (statistics.median(column) for column in zip(*rows))
        print(f"| {name} | {memory / 1024:.2f} | {shared / 1024:.2f} | {time_us:.3f} | {latency:.1f} |")


if __name__ == "__main__":
    main()
