#!/usr/bin/env python3
"""What clients of the Redis protocol notice of pages that mean harm: time from PUBLISH to a subscriber, meanwhile.

    .tools/python/bin/python bench/pages/abuse.py [SECONDS]

Each kind of abuse is aimed at the server whose clients are measured, and, for comparison, at another one on the same machine: so both
figures have the same programs beside them, and what differs is what the server lets others feel. 500 messages a second, one at a
time, for some seconds each (three, unless told otherwise); medians of five rounds. Needs a release build; STERNA_BIN names another.
"""

import multiprocessing
import os
import resource
import socket
import statistics
import struct
import sys
import tempfile
import time

from measure import HOST, Sterna, connect, events, masked, request, rss_bytes, upgrade

PERIOD_S = 0.002
WORKERS = 2
ROUNDS = 5
# Those that mean harm leave the processor to the others first: what they take of it is no matter of the server.
NICE = 10
UPGRADE = upgrade("/app/key?protocol=7")


def http(method: str, path: str, headers: str = "", body: bytes = b"") -> bytes:
    head = f"{method} {path} HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\nContent-Length: {len(body)}\r\n{headers}\r\n"
    return head.encode() + body


def frame(first: int, payload: bytes) -> bytes:
    length = len(payload)
    if length < 126:
        head = struct.pack("!BB", first, 0x80 | length)
    elif length < 65536:
        head = struct.pack("!BBH", first, 0x80 | 126, length)
    else:
        head = struct.pack("!BBQ", first, 0x80 | 127, length)
    return head + bytes(4) + payload


def say_and_read(port: int, said: list[bytes]) -> None:
    """Says all of it, and reads until it is closed, or for a moment."""
    with socket.create_connection((HOST, port)) as page:
        page.settimeout(0.05)
        try:
            for part in said:
                page.sendall(part)
            while page.recv(65536):
                pass
        except OSError:
            pass


FRAMES = [
    [frame(0x81, b"x" * 33_000)],
    [frame(0x82, b"x" * 200_000)],
    [struct.pack("!BBQ", 0x81, 0xFF, 1 << 62)],
    [frame(0x01, b"[")] + [frame(0x00, b"0") for _ in range(500)] + [frame(0x88, b"\x03\xe8")],
    [frame(0x01, b"x" * 16_000), frame(0x00, b"x" * 16_000), frame(0x80, b"x" * 16_000)],
    [frame(0x81, b"\xed\xa0\x80")],
    [frame(0x81, b'{"event":"\xff"}')],
    [frame(0xF1, b"x")],
    [b"\x81\x02hi"],
]
TOKEN = "eyJhbGciOiJIUzI1NiJ9.eyJleHAiOjQwMDAwMDAwMDAsImNoYW5uZWxzIjpbIioiXX0.AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
SIGNED = "auth_key=key&auth_timestamp=1&auth_version=1.0&auth_signature=00&body_md5=00"
PRIVATE = b'{"event":"pusher:subscribe","data":{"channel":"private-c","auth":"key:00"}}'
STRANGERS = [
    [http("GET", "/v1/events?channel=news", f"Authorization: Bearer {TOKEN}\r\n")],
    [http("POST", f"/apps/1/events?{SIGNED}", body=b'{"name":"e","channel":"c","data":"{}"}')],
    [http("GET", "/v1/events?channel=news", "Origin: https://evil.example\r\n")],
    [UPGRADE.replace(b"\r\n\r\n", b"\r\nOrigin: https://evil.example\r\n\r\n")],
    [UPGRADE, masked(PRIVATE), frame(0x88, b"\x03\xe8")],
    [b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"GET / HTTP/9.9\r\n\r\n"],
]


def again_and_again(attempts):
    def run(port: int, count, until: float) -> None:
        os.nice(NICE)
        n = 0
        while time.time() < until:
            attempts(port, n)
            n += 1
            with count.get_lock():
                count.value += 1
            time.sleep(0.001)

    return run


def send_frames(port: int, n: int) -> None:
    say_and_read(port, [UPGRADE, *FRAMES[n % len(FRAMES)]])


def be_a_stranger(port: int, n: int) -> None:
    say_and_read(port, STRANGERS[n % len(STRANGERS)])


def abandon(port: int, n: int) -> None:
    """Ten upgrades, which are left at different points."""
    pages = [socket.create_connection((HOST, port)) for _ in range(10)]
    for i, page in enumerate(pages):
        page.sendall(UPGRADE[: len(UPGRADE) // 2] if i % 2 else UPGRADE)
    if n % 2:
        pages[0].recv(12)
    for page in pages:
        page.close()


def read_nothing(port: int, count, until: float) -> None:
    os.nice(NICE)
    pages = []
    for n in range(200):
        page = socket.create_connection((HOST, port))
        page.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        flood = masked(b'{"event":"pusher:subscribe","data":{"channel":"flood"}}')
        page.sendall(events("channel=flood") if n % 2 else UPGRADE + flood)
        pages.append(page)
    with count.get_lock():
        count.value += len(pages)
    body = b'{"channel":"flood","message":"' + b"x" * 4000 + b'"}'
    while time.time() < until:
        say_and_read(port, [http("POST", "/v1/publish", body=body)])
        time.sleep(0.02)


def stay_half_open(port: int, count, until: float) -> None:
    os.nice(NICE)
    said = [b"", b"GET /v1/ev", http("POST", "/v1/publish", body=b'{"channel":"c","message":"m"}')[:-9], UPGRADE[:-2]]
    pages = []
    for n in range(2000):
        pages.append(socket.create_connection((HOST, port)))
        pages[-1].sendall(said[n % len(said)])
    with count.get_lock():
        count.value += len(pages)
    time.sleep(max(0.0, until - time.time()))


KINDS = {
    "slow readers, while their channel is flooded": read_nothing,
    "half-open connections": stay_half_open,
    "frames that are too long, in pieces, or no UTF-8": again_and_again(send_frames),
    "bad tokens, signatures and origins": again_and_again(be_a_stranger),
    "abandoned upgrades (tens)": again_and_again(abandon),
}


class Watched(Sterna):
    def __init__(self):
        super().__init__(b"", b"")

    def measure(self, seconds: float) -> list[float]:
        """Milliseconds from PUBLISH to a subscriber."""
        listener = connect(self.port)
        listener.sendall(request(b"SUBSCRIBE", b"quiet"))
        listener.recv(4096)
        publish = request(b"PUBLISH", b"quiet", b"x" * 64)
        found, next_at = [], time.perf_counter()
        end = next_at + seconds
        while next_at < end:
            began = time.perf_counter()
            self.control.sendall(publish)
            listener.recv(4096)
            found.append((time.perf_counter() - began) * 1000)
            self.control.recv(4096)
            next_at = max(next_at + PERIOD_S, time.perf_counter())
            time.sleep(max(0.0, next_at - time.perf_counter()))
        listener.close()
        return found


def measure_beside(watched: Watched, target: int, abuse, seconds: float) -> tuple[list[float], int]:
    count, until = multiprocessing.Value("l", 0), time.time() + seconds + 1
    workers = [multiprocessing.Process(target=abuse, args=(target, count, until)) for _ in range(WORKERS)]
    for worker in workers:
        worker.start()
    time.sleep(1)
    found = watched.measure(seconds)
    for worker in workers:
        worker.join()
    return found, count.value


def percentiles(times: list[float]) -> tuple[float, float]:
    cuts = statistics.quantiles(times, n=100)
    return cuts[49], cuts[98]


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 3.0
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as other_folder:
        secret = '{"kty":"oct","k":"' + "A" * 43 + '"}'
        for place in (folder, other_folder):
            with open(os.path.join(place, "keys.json"), "w") as file:
                file.write(secret)
        watched, other = Watched(), Watched()
        watched.start(folder)
        other.start(other_folder)
        for one, place in ((watched, folder), (other, other_folder)):
            keys = os.path.join(place, "keys.json").encode()
            one.control.sendall(request(b"CONFIG", b"SET", b"http-token-keys", keys))
            one.control.recv(4096)
        watched.measure(1)
        before = rss_bytes(watched.process.pid)
        print("| abuse | attempts | p50, p99 of RESP, ms | the same, aimed at another server |\n|---|---:|---:|---:|")
        quiet = percentiles(watched.measure(seconds))
        print(f"| none | – | {quiet[0]:.2f}, {quiet[1]:.2f} | |", flush=True)
        for name, abuse in KINDS.items():
            here, there, attempts = [], [], 0
            for _ in range(ROUNDS):
                found, _ = measure_beside(watched, other.http, abuse, seconds)
                there.append(percentiles(found))
                found, count = measure_beside(watched, watched.http, abuse, seconds)
                here.append(percentiles(found))
                attempts += count
            medians = [[statistics.median(column) for column in zip(*rows)] for rows in (here, there)]
            figures = " | ".join(f"{p50:.2f}, {p99:.2f}" for p50, p99 in medians)
            print(f"| {name} | {attempts} | {figures} |", flush=True)
        time.sleep(12)
        watched.control.sendall(request(b"CLIENT", b"LIST"))
        left = watched.control.recv(1 << 20).count(b"id=")
        print(f"\nAfterwards: {left} client, {(rss_bytes(watched.process.pid) - before) / 1024 / 1024:.1f} MiB more than before.")
        for one in (watched, other):
            one.process.kill()
            one.process.wait()


if __name__ == "__main__":
    main()
