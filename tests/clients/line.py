"""A line to a server that can be cut: what is on its way is lost, as it is when a network fails.

A proxy whose kernel has acknowledged bytes has them; that it drops them is nothing a server could know. So a cut makes the kernel
blind first: a filter on the socket to the server drops every packet before TCP sees it, and nothing more is acknowledged. What
had been before is delivered, and what the server goes on sending is lost.

As a program, for the tests in other languages: `line.py PORT` prints where it listens, and answers `cut` and `mend` on its
standard input by the same word.
"""

import ctypes
import socket
import struct
import sys
import threading
import time

HOST = "127.0.0.1"
POLL_SECONDS = 0.01
LOSING_SECONDS = 0.05

SO_ATTACH_FILTER = 26
# One instruction: return 0, which drops the packet.
_DROP = ctypes.create_string_buffer(struct.pack("HBBI", 6, 0, 0, 0))
_FILTER = struct.pack("HL", 1, ctypes.addressof(_DROP))


class Pair:
    """A connection through the line: both ends, and a thread for each way."""

    def __init__(self, client, server):
        self.client, self.server, self.is_cut = client, server, threading.Event()
        for end in (client, server):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            end.settimeout(POLL_SECONDS)
        self._threads = [
            threading.Thread(target=self._carry, args=ends, daemon=True)
            for ends in ((client, server), (server, client))
        ]
        for thread in self._threads:
            thread.start()

    def _carry(self, source, target):
        while True:
            # Only what is found missing after the cut is missing: before, it may have come since the kernel looked.
            was_cut = self.is_cut.is_set()
            try:
                data = source.recv(1 << 16)
            except TimeoutError:
                if was_cut:
                    return
                continue
            except OSError:
                break
            if not data or not self._send(target, data):
                break
        if not self.is_cut.is_set():
            try:
                target.shutdown(socket.SHUT_WR)
            except OSError:
                pass

    def _send(self, target, data):
        while data:
            try:
                data = data[target.send(data) :]
            except TimeoutError:
                continue
            except OSError:
                return False
        return True

    def blind(self):
        self.server.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, _FILTER)
        self.is_cut.set()

    def close(self):
        for thread in self._threads:
            thread.join()
        # What the kernel has yet to acknowledge it acknowledges now.
        self.server.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        try:
            self.client.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.client.close()
        self.server.close()


class Line:
    def __init__(self, server_port):
        self._server_port, self._pairs, self._is_cut = server_port, [], False
        # Held from looking at `_is_cut` until the pair is among the others: a cut meets it, or is met by it.
        self._joining = threading.Lock()
        self._listener = socket.create_server((HOST, 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            with self._joining:
                try:
                    server = None if self._is_cut else socket.create_connection((HOST, self._server_port))
                except OSError:
                    server = None
                if server is None:
                    client.close()
                else:
                    self._pairs.append(Pair(client, server))

    def cut(self):
        """Cuts all connections; nobody can connect until `mend`."""
        with self._joining:
            self._is_cut = True
            pairs, self._pairs = self._pairs, []
        for pair in pairs:
            pair.blind()
        time.sleep(LOSING_SECONDS)
        for pair in pairs:
            pair.close()

    def mend(self):
        self._is_cut = False

    def close(self):
        self._listener.close()


if __name__ == "__main__":
    line = Line(int(sys.argv[1]))
    print(line.port, flush=True)
    for word in map(str.strip, sys.stdin):
        {"cut": line.cut, "mend": line.mend}[word]()
        print(word, flush=True)
