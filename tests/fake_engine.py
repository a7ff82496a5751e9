"""A Docker engine in miniature on a UNIX socket: containers, networks and volumes as dictionaries."""

from __future__ import annotations

import json
import socketserver
import threading
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import parse_qs, unquote, urlsplit

if TYPE_CHECKING:
    from pathlib import Path

PROJECT = "com.docker.compose.project"


class FakeEngine:
    """Listens while `up`. `busy` names what refuses to be removed, with the status; `asked` is every request."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.containers: dict[str, dict[str, Any]] = {}
        self.networks: dict[str, dict[str, Any]] = {}
        self.volumes: dict[str, dict[str, Any]] = {}
        self.serves = ("1.12", "1.52")
        """Oldest and newest API."""
        self.busy: dict[str, int] = {}
        self.hang = threading.Event()
        self.asked: list[tuple[str, str, Any]] = []
        self._server: _Server | None = None
        self._lives = 0

    def __enter__(self) -> Self:
        self.up()
        return self

    def __exit__(self, *_: object) -> None:
        self.hang.set()
        self.down()

    def up(self) -> None:
        self._server = _Server(str(self.path), _Handler)
        self._server.engine = self
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def down(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None
            self.path.unlink(missing_ok=True)

    def add(self, name: str, project: str = "", *, running: bool = True) -> dict[str, Any]:
        self._lives += 1
        made = {
            "Id": name,
            "Labels": {PROJECT: project},
            "State": {"Running": running, "Paused": False, "StartedAt": f"life-{self._lives}"},
            "NetworkSettings": {"Networks": {}},
        }
        self.containers[name] = made
        return made

    def state(self, name: str) -> dict[str, Any]:
        return self.containers[name]["State"]

    def deeds(self) -> list[str]:
        """What was asked but looks, as `POST kill`."""
        return [f"{method} {path.rsplit('/', 1)[-1]}" for method, path, _ in self.asked if method != "GET"]

    def answer(self, method: str, path: str, query: dict[str, list[str]], body: Any) -> tuple[int, Any]:
        if path.endswith("/version"):
            return 200, {"MinAPIVersion": self.serves[0], "ApiVersion": self.serves[1], "Version": "20.10"}
        self.asked.append((method, path, body))
        parts = [unquote(part) for part in path.split("/")[2:]]
        kind, rest = parts[0], parts[1:]
        store: dict[str, dict[str, Any]] = getattr(self, kind)
        if method == "GET" and rest in ([], ["json"]) and (kind != "containers" or rest):
            wanted = json.loads(query["filters"][0])["label"][0].partition("=")[2]
            found = [part for part in store.values() if part["Labels"][PROJECT] == wanted]
            return 200, {"Volumes": found or None} if kind == "volumes" else found
        name = rest[0]
        if name in self.busy:
            return self.busy[name], {"message": f"{name} is busy"}
        if name not in store:
            return 404, {"message": f"No such thing: {name}"}
        if method == "DELETE":
            del store[name]
            return 204, None
        return self._deed(store[name], rest[1], query, body)

    def _deed(self, it: dict[str, Any], deed: str, query: dict[str, list[str]], body: Any) -> tuple[int, Any]:
        state = it.get("State", {})
        if deed == "json":
            return 200, it
        if deed == "start":
            self._lives += not state["Running"]
            state.update(Running=True, StartedAt=f"life-{self._lives}")
        elif deed == "kill" and not state["Running"]:
            return 409, {"message": "is not running"}
        elif deed == "kill" and query["signal"] == ["KILL"]:
            state.update(Running=False, Paused=False)
        elif deed == "unpause":
            state["Paused"] = False
        elif deed == "update":
            it["cpu"] = body
        elif deed == "connect":
            networks = self.containers[body["Container"]]["NetworkSettings"]["Networks"]
            networks["net"] = {"NetworkID": it["Id"], **body["EndpointConfig"]}
        return 200, {"StatusCode": 0} if deed == "wait" else None


class _Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True
    engine: FakeEngine


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"

    def _serve(self) -> None:
        length = int(self.headers.get("Content-Length", 0))
        body = json.loads(self.rfile.read(length)) if length else None
        engine, at = self.server.engine, urlsplit(self.path)
        if "hangs" in at.path:
            engine.hang.wait(10)
        status, answer = engine.answer(self.command, at.path, parse_qs(at.query), body)
        data = b"" if answer is None else json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(data)
        self.close_connection = True

    do_GET = do_POST = do_DELETE = _serve  # noqa: N815 - names the base class calls

    def address_string(self) -> str:
        return "unix"

    def log_message(self, *_: object) -> None:
        """Say nothing."""
