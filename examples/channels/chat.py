"""Starts two chat servers as processes of their own. Ctrl-C stops both."""

import os
import pathlib
import signal
import socket
import subprocess
import sys

HERE = pathlib.Path(__file__).parent
sys.path.append(str(HERE.parent / "python"))
import connection  # noqa: E402  (the address and the certificate, as for the other Python examples)

PORT = int(os.environ.get("PORT", 3060))


def start(name: str, port: int) -> subprocess.Popen:
    """Daphne on a socket that is open already: whoever connects waits until the server is there."""
    with socket.create_server(("127.0.0.1", port)) as listener:
        number = listener.fileno()
        command = [sys.executable, "-m", "daphne", "--fd", str(number), "--verbosity", "0", "server:application"]
        server = subprocess.Popen(command, cwd=HERE, pass_fds=[number], env={**os.environ, "SERVER_NAME": name})
        print(f"chat server {name} is on http://127.0.0.1:{listener.getsockname()[1]}/general", flush=True)
    return server


def main() -> None:
    connection.expect_server()
    servers = [start(name, PORT and PORT + index) for index, name in enumerate(("north", "south"))]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        for server in servers:
            server.wait()
    finally:
        for server in servers:
            server.terminate()


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        pass
