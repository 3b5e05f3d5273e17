"""A server for the Python clients: 127.0.0.1, free ports, TLS with a certificate made here, a password.

STERNA_BIN names the binary and STERNA_TEST_TLS=no says that it has no TLS, as in server.js beside this file. With STERNA_TEST_NODES=3
each server is a node that does not lead, of a cluster with `cluster-keys`; a crash is that of the node that leads. With
STERNA_TEST_GROUPS=3 their keys are in three groups, of which each node leads one; a crash is that of another node.
"""

import atexit
import itertools
import os
import pathlib
import random
import re
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable

import pytest

BINARY = os.environ.get("STERNA_BIN") or str(pathlib.Path(__file__).parents[2] / "target/release/sterna")
IS_STERNA = pathlib.Path(BINARY).name == "sterna"
NODES = int(os.environ.get("STERNA_TEST_NODES", "1"))
GROUPS = os.environ.get("STERNA_TEST_GROUPS", "1")
HAS_TLS = os.environ.get("STERNA_TEST_TLS") != "no"
# With these, what was acknowledged is on the disk: a server that is killed has lost none of it.
DURABLE = ["--appendonly", "yes", "--appendfsync", "always"]
# What is started so ends with this process, however that ends.
TIED = ["setpriv", "--pdeathsig", "KILL"]
HOST = "127.0.0.1"
PASSWORD = "secret"
START_SECONDS = 60
STOP_SECONDS = 60


# Below the ports that the kernel gives to connections and to listeners that name none.
PORTS = range(12_000, 32_000)
_kept_ports: list[socket.socket] = []


def free_port() -> int:
    """A port that is free, and that no other test is given: a UDP socket of the same number says so to them."""
    while True:
        port, mark = random.choice(PORTS), socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            mark.bind((HOST, port))
            socket.create_server((HOST, port)).close()
        except OSError:
            mark.close()
            continue
        _kept_ports.append(mark)
        return port


def make_certificate(folder: pathlib.Path) -> tuple[str, str]:
    cert, key = str(folder / "cert.pem"), str(folder / "key.pem")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        + ["-days", "2", "-subj", "/CN=sterna test", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
        + ["-keyout", key, "-out", cert],
        check=True,
        capture_output=True,
    )
    return cert, key


_clusters = itertools.count()
_nats_urls: list[str] = []


def nats_url() -> str:
    """The NATS server that all clusters of this process share."""
    if not _nats_urls:
        folder, port = pathlib.Path(tempfile.mkdtemp(prefix="sterna-nats-")), free_port()
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        config = folder / "nats.conf"
        config.write_text(f'listen: "{HOST}:{port}"\njetstream {{ store_dir: "{folder}", sync_interval: always }}\n')
        nats = subprocess.Popen([*TIED, os.environ["NATS_SERVER"], "-c", config], stderr=subprocess.DEVNULL)
        atexit.register(nats.kill)
        _nats_urls.append(f"nats://{HOST}:{port}")
    return _nats_urls[0]


def eventually(what: str, look: "Callable[[], bool]") -> None:
    deadline = time.monotonic() + START_SECONDS
    while not look():
        if time.monotonic() > deadline:
            raise RuntimeError(f"waited in vain for {what}")
        time.sleep(0.02)


def make_cluster() -> list[str]:
    """Makes a log, and answers what each node of its cluster is started with."""
    words = ["--cluster-url", nats_url(), "--cluster-name", f"clients-{os.getpid()}-{next(_clusters)}"]
    init = [BINARY, "cluster", "init", "--url", words[1], "--name", words[3], "--replicas", "1", "--groups", GROUPS]
    eventually("a log", lambda: subprocess.run(init, capture_output=True).returncode == 0)
    return [*words, "--cluster-keys", "yes", "--cluster-groups", GROUPS, "--appendonly", "yes"]


class TestServer:
    __test__ = False

    def __init__(self, folder: pathlib.Path, extra: "list[str] | Callable[[TestServer], list[str]] | None" = None):
        self.host, self.password = HOST, PASSWORD
        self.port, self.tls_port = free_port(), free_port()
        self.cert, self._key = make_certificate(folder)
        self._folder, self._log, self._process = folder, folder / "log", None
        self._extra = (extra(self) if callable(extra) else extra) or []
        self._others: list[TestServer] = []

    @property
    def url(self) -> str:
        return f"rediss://:{PASSWORD}@{HOST}:{self.tls_port}" if HAS_TLS else f"redis://:{PASSWORD}@{HOST}:{self.port}"

    @property
    def env(self) -> dict[str, str]:
        """What a program needs to find this server."""
        return {**os.environ, "REDIS_URL": self.url, "REDIS_CA": self.cert}

    def start(self) -> None:
        if NODES > 1 and not self._others and "--cluster-url" not in self._extra:
            self._start_others()
        options = ["--bind", HOST, "--port", str(self.port), "--requirepass", PASSWORD, "--dir", str(self._folder)]
        options += ["--threads", "2"] if IS_STERNA else ["--save", ""]
        if HAS_TLS:
            options += ["--tls-port", str(self.tls_port), "--tls-cert-file", self.cert, "--tls-key-file", self._key]
            options += ["--tls-auth-clients", "no"] + ([] if IS_STERNA else ["--tls-ca-cert-file", self.cert])
        options += self._extra
        with self._log.open("ab") as log:
            self._process = subprocess.Popen([*TIED, BINARY, *options], stdout=log, stderr=log)
        deadline = time.monotonic() + START_SECONDS
        while not self._accepts():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{BINARY} did not start:\n{self._log.read_text()}")
            time.sleep(0.01)
        if self._others:
            eventually("a node that follows", lambda: self._follows() or GROUPS == "1" and self.leads())

    def _start_others(self) -> None:
        """The other nodes of its cluster, of which one leads."""
        self._extra = [*self._extra, *make_cluster()]
        for n in range(1, NODES):
            folder = self._folder / f"node{n}"
            folder.mkdir()
            other = TestServer(folder, self._extra)
            other.start()
            self._others.append(other)
        eventually("a node to lead", lambda: any(other.leads() for other in self._others))

    def info_of_nodes(self, section: str) -> str:
        return "".join(node._ask(f"INFO {section}") for node in [self, *self._others])

    def leads(self) -> bool:
        return re.search("cluster_keys[:=]me", self._ask("INFO cluster")) is not None

    def _follows(self) -> bool:
        passes_on = re.search("cluster_keys[:=]other", self._ask("INFO cluster")) is not None
        return passes_on and "state:ok" in self._ask("CLUSTER INFO") and (GROUPS == "1" or self.leads())

    def _ask(self, command: str) -> str:
        try:
            with socket.create_connection((HOST, self.port), timeout=START_SECONDS) as asking:
                asking.sendall(f"AUTH {PASSWORD}\r\n{command}\r\nQUIT\r\n".encode())
                return b"".join(iter(lambda: asking.recv(65536), b"")).decode()
        except OSError:
            return ""

    def _accepts(self) -> bool:
        try:
            socket.create_connection((HOST, self.tls_port if HAS_TLS else self.port), timeout=1).close()
        except OSError:
            return False
        return True

    def close(self) -> None:
        """Ends it, and the other nodes of its cluster."""
        for node in [self, *self._others]:
            node.stop()

    def stop(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def restart(self) -> None:
        self.stop()
        self.start()

    def crash(self) -> None:
        """SIGKILL in the middle of whatever it does, and a new process on the same files and ports. Of several nodes, the one that leads."""
        for node in self._others:
            if node.leads():
                return node.crash()
        self._process.kill()
        self._process.wait()
        self.start()


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    server = TestServer(tmp_path_factory.mktemp("server"))
    server.start()
    yield server
    server.close()


@pytest.fixture
def own_server(tmp_path):
    """A server that the test may restart."""
    server = TestServer(tmp_path)
    server.start()
    yield server
    server.close()


@pytest.fixture
def durable_server(tmp_path):
    """A server that may be killed: what it has acknowledged it still has."""
    server = TestServer(tmp_path, DURABLE)
    server.start()
    yield server
    server.close()
