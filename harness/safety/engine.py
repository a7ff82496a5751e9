"""Ask a Docker engine over its socket, with the standard library alone: the keeper process imports this.

An engine that is restarting is waited for, as long as the caller has time. No request is sent twice unless it cannot
have been taken in full or may be sent twice: undo steps may.
"""

from __future__ import annotations

import http.client
import json
import socket
import time
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, urlencode

if TYPE_CHECKING:
    from collections.abc import Callable

VERSION: Final = "v1.40"
"""API of Docker 19.03, the oldest with what is used here; every later engine so far serves it."""
PROJECT: Final = "com.docker.compose.project"
"""Label by which Compose marks whatever belongs to a project."""
_PAUSE_S: Final = 0.1
_DOWN: Final = (ConnectionError, FileNotFoundError, http.client.HTTPException)


class EngineError(Exception):
    """The engine refused: `status` is the HTTP status."""

    def __init__(self, status: int, said: str) -> None:
        super().__init__(f"the Docker engine answered {status}: {said}")
        self.status = status


class Engine:
    """The engine behind the socket `path`. `left_s` gives the seconds left and raises TimeoutError if there are none."""

    def __init__(self, path: str, left_s: Callable[[], float]) -> None:
        self._path = path
        self._left_s = left_s

    def ask(self, method: str, path: str, body: dict[str, Any] | None = None, **query: str) -> Any:
        """Send one request and give the parsed answer, None where it has none.

        Asks again while nothing answers at the socket; raises EngineError, or the OSError once time is up.
        """
        target = f"/{VERSION}{path}" + (f"?{urlencode(query)}" if query else "")
        while True:
            try:
                return self._once(method, target, body)
            except _DOWN:
                left = self._left_s()
                if left <= _PAUSE_S:
                    raise
                time.sleep(_PAUSE_S)

    def list(self, kind: str, project: str) -> list[dict[str, Any]]:
        """List what carries the label of a Compose project: `kind` is containers (also stopped ones), networks, volumes."""
        filters = json.dumps({"label": [f"{PROJECT}={project}"]})
        if kind == "containers":
            return self.ask("GET", "/containers/json", all="1", filters=filters) or []
        found = self.ask("GET", f"/{kind}", filters=filters)
        return (found["Volumes"] if kind == "volumes" else found) or []

    def _once(self, method: str, target: str, body: dict[str, Any] | None) -> Any:
        connection = _Connection(self._path, self._left_s())
        try:
            headers = {} if body is None else {"Content-Type": "application/json"}
            connection.request(method, target, None if body is None else json.dumps(body), headers)
            response = connection.getresponse()
            data = response.read()
        finally:
            connection.close()
        if response.status >= http.client.BAD_REQUEST:
            raise EngineError(response.status, _message(data))
        return json.loads(data) if data.strip() else None


def container(name: str, deed: str = "") -> str:
    """Path of a container, or of a deed to it."""
    return f"/containers/{quote(name, safe='')}{f'/{deed}' if deed else ''}"


def _message(data: bytes) -> str:
    try:
        return str(json.loads(data)["message"])
    except (ValueError, LookupError, TypeError):
        return data.decode(errors="replace").strip() or "nothing more"


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout_s: float) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)
