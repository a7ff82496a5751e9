"""A server that answers like Coder's API, and misbehaves on the paths that ask for it."""

from __future__ import annotations

import socket
import socketserver
import struct
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

UPSTREAM_PORT = 8081

CUT_OFF = {
    "/close": b"",
    "/garbage": b"what?\r\n\r\n",
    "/half-head": b"HTTP/1.1 200 OK\r\nContent-Le",
    "/half-body": b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nabc",
}
BODIES = {
    "/api/v2/page": b"<html>down for maintenance</html>",
    "/api/v2/workspaces": b'{"workspaces":[{"id":"w1","latest_build":{"status":"running"}}],"count":1}',
}


def answer(status: int, body: bytes) -> bytes:
    head = (
        f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\nContent-Type: application/json\r\n"
        f"X-Chaos-Upstream: 127.0.0.1:{UPSTREAM_PORT}\r\nSet-Cookie: coder_session_token=x; Path=/\r\n"
        "Location: /elsewhere\r\n\r\n"  # ignored but for a redirect
    )
    return head.encode() + body


class Api(socketserver.ThreadingTCPServer):
    """Answers like Coder's API, and misbehaves on the paths that ask for it."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Connection)
        self.seen: list[tuple[str, str, dict[str, str]]] = []
        self.killed = 0
        self.hung = 0
        self.hanging = threading.Event()
        self.over = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Connection(socketserver.StreamRequestHandler):
    server: Api

    def handle(self) -> None:
        nth = 0
        try:
            while line := self.rfile.readline():
                nth += 1
                method, path, _ = line.decode().split()
                headers = self._headers()
                self.rfile.read(int(headers.get("content-length", 0)))
                self.server.seen.append((method, path, headers))
                if not self._answer(path, nth):
                    return
        except ConnectionError:
            return

    def _headers(self) -> dict[str, str]:
        headers = {}
        while line := self.rfile.readline().decode().strip():
            key, _, value = line.partition(":")
            headers[key.lower()] = value.strip()
        return headers

    def _answer(self, path: str, nth: int) -> bool:
        """Answer, and say whether the connection stays open."""
        if path == "/hang" or self.server.hanging.is_set():
            self.server.hung += 1
            self.server.over.wait(60)
        elif path == "/kill-second" and nth == 2:
            self.server.killed += 1
        elif path == "/reset":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
        elif path in CUT_OFF:
            self.wfile.write(CUT_OFF[path])
        else:
            status = int(path.rpartition("/")[2]) if path.startswith("/status/") else 200
            self.wfile.write(answer(status, BODIES.get(path.partition("?")[0], b"{}")))
            return True
        return False


def serve() -> Iterator[Api]:
    with Api() as api:
        thread = threading.Thread(target=api.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield api
        api.over.set()
        api.shutdown()
        thread.join()
