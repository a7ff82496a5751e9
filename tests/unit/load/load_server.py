"""A server that answers like Coder's API, and misbehaves on the paths that ask for it."""

from __future__ import annotations

import gzip
import json
import socket
import socketserver
import ssl
import struct
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

UPSTREAM_PORT = 8081
BOMB = gzip.compress(bytes(100 << 20), 1)

CUT_OFF = {
    "/close": b"",
    "/garbage": b"what?\r\n\r\n",
    "/half-head": b"HTTP/1.1 200 OK\r\nContent-Le",
    "/half-body": b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nabc",
}
STATUSES = {
    "/expired": (401, b'{"message":"You are signed out or your session has expired."}', ""),
    "/key-lookup-failed": (401, b'{"message":"...","detail":"Internal error fetching API key by id."}', ""),
    "/limited": (429, b'{"message":"You\'ve been rate limited"}', "Retry-After: 1\r\nX-RateLimit-Limit: 512\r\n"),
    "/last": (200, b"{}", "X-RateLimit-Limit: 512\r\nX-RateLimit-Remaining: 0\r\n"),
    "/login": (303, b"", "Location: /elsewhere\r\n"),
    "/zipped": (200, gzip.compress(b"{}"), "Content-Encoding: gzip\r\n"),
    "/zipped-bomb": (200, BOMB, "Content-Encoding: gzip\r\n"),
    "/zipped-half": (200, gzip.compress(b"{}")[:-9], "Content-Encoding: gzip\r\n"),
    "/zipped-otherwise": (200, b"{}", "Content-Encoding: br\r\n"),
}
WORKSPACE = {
    "id": "w1",
    "name": "load-0",
    "template_id": "t1",
    "template_active_version_id": "v2",
    "outdated": True,
    "latest_build": {"status": "running"},
}
TEMPLATE = {"id": "t1", "name": "plain", "organization_id": "o1", "active_version_id": "v2"}
BODIES: dict[str, Any] = {
    "/api/v2/workspaces": {"workspaces": [WORKSPACE], "count": 1},
    "/api/v2/templates": [TEMPLATE],
    "/api/v2/workspaces/w1/builds": {"id": "b1", "status": "stopping"},
    "/api/v2/workspacebuilds/b1": {"id": "b1", "status": "stopped"},
}


class Seen(NamedTuple):
    """A request as it came in. `port` is the client's."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    port: int


def answer(status: int, body: bytes, more: str = "") -> bytes:
    head = (
        f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\nContent-Type: application/json\r\n"
        f"X-Chaos-Upstream: 127.0.0.1:{UPSTREAM_PORT}\r\nSet-Cookie: coder_session_token=x; Path=/\r\n{more}\r\n"
    )
    return head.encode() + body


class Api(socketserver.ThreadingTCPServer):
    """Answers like Coder's API, and misbehaves on the paths that ask for it. `tls` answers by HTTPS."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(("127.0.0.1", 0), Connection)
        self.seen: list[Seen] = []
        self.killed = 0
        self.hung = 0
        self.flooded = 0
        self.hanging = threading.Event()
        self.open = threading.Event()
        """Answers wait until this is set."""
        self.open.set()
        self.over = threading.Event()
        self.owners: set[str] = set()
        """Tokens whose user says of itself to be an owner."""
        self.liars: set[str] = set()
        """Those of them that are none."""
        self.tls = tls

    @property
    def url(self) -> str:
        return f"http{'s' if self.tls else ''}://127.0.0.1:{self.server_address[1]}"

    def get_request(self) -> tuple[socket.socket, Any]:
        sock, address = super().get_request()
        if self.tls:  # shakes hands in the thread of the connection, with its first read
            sock = self.tls.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
        return sock, address

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that goes away is none of our business."""


class Connection(socketserver.StreamRequestHandler):
    server: Api

    def handle(self) -> None:
        nth = 0
        with suppress(ConnectionError, ssl.SSLError):
            while line := self.rfile.readline():
                nth += 1
                method, path, _ = line.decode().split()
                headers = self._headers()
                body = self.rfile.read(int(headers.get("content-length", 0)))
                self.server.seen.append(Seen(method, path, headers, body, self.client_address[1]))
                if not self._answer(path, nth, headers):
                    return

    def _headers(self) -> dict[str, str]:
        headers = {}
        while line := self.rfile.readline().decode().strip():
            key, _, value = line.partition(":")
            headers[key.lower()] = value.strip()
        return headers

    def _answer(self, path: str, nth: int, headers: dict[str, str]) -> bool:
        """Answer, and say whether the connection stays open."""
        if path == "/hang" or self.server.hanging.is_set():
            self.server.hung += 1
            self.server.over.wait(60)
        elif path == "/kill-second" and nth == 2:
            self.server.killed += 1
        elif path == "/reset":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
        elif path in ("/flood", "/flood-head"):
            self.wfile.write(b"HTTP/1.1 200 OK\r\n" + (b"\r\n" if path == "/flood" else b"X-Long: "))
            while not self.server.over.is_set():
                self.wfile.write(bytes(b"a" * (1 << 16)))
                self.server.flooded += 1 << 16
        elif path == "/trickle":
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
            while not self.server.over.wait(0.05):
                self.wfile.write(b"a")
        elif path in CUT_OFF:
            self.wfile.write(CUT_OFF[path])
        else:
            self.server.open.wait(60)
            self.wfile.write(self._whole(path.partition("?")[0], headers))
            return True
        return False

    def _whole(self, path: str, headers: dict[str, str]) -> bytes:
        if path in STATUSES:
            return answer(*STATUSES[path])
        if path.startswith("/status/"):
            return answer(int(path.rpartition("/")[2]), b"{}")
        if path == "/api/v2/page":
            return answer(200, b"<html>down for maintenance</html>")
        token = headers.get("coder-session-token", "")
        if "x-coder-bypass-ratelimit" in headers and token in self.server.liars:
            return answer(428, b'{"message":"no"}')
        return answer(200, json.dumps(self._body(path, token)).encode())

    def _body(self, path: str, token: str) -> Any:
        if path == "/api/v2/users/me":
            return {"id": "u1", "roles": [{"name": "owner"}] if token in self.server.owners else []}
        if path == "/api/v2/regions":
            urls = self.server.url, "http://proxy.invalid"
            return {"regions": [{"healthy": True, "path_app_url": url} for url in urls]}
        return BODIES.get(path, {})


def serve(tls: ssl.SSLContext | None = None) -> Iterator[Api]:
    with Api(tls) as api:
        thread = threading.Thread(target=api.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield api
        api.over.set()
        api.open.set()
        api.shutdown()
        thread.join()
