"""`watch`: one workspace, a snapshot after the open and after every change (coderd/workspaces.go).

Messages are `{"type": "ping" | "data" | "error", "data": ...}`, one JSON text each.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, ClassVar, Final, NamedTuple

from harness.probes.kinds.base import Kind

if TYPE_CHECKING:
    from harness.probes.kinds.base import Live

MAX_ERROR_TEXT: Final = 200
"""Characters kept of what a server calls an error."""


class WatchFrame(NamedTuple):
    """What a message says: a build, an error, or nothing (a ping)."""

    build: dict[str, object] | None = None
    error: str | None = None


class Watch(Kind):
    """Back with the first snapshot, which says how current it is."""

    name: ClassVar[str] = "watch"
    path: ClassVar[str] = "/api/v2/workspaces/{workspace}/watch-ws"

    def message(self, session: Live, data: bytes, now: int) -> None:
        """Take a build or an error."""
        frame = read_frame(data)
        if frame.error is not None:
            session.bad(now, frame.error)
        elif frame.build is not None:
            session.good(now, **frame.build)


def read_frame(message: bytes) -> WatchFrame:
    """Read one message. Never raises: what is no watch message is an error that says so."""
    try:
        raw = json.loads(message)
    except (ValueError, RecursionError):
        return _wrong("not JSON", message)
    kind, data = (raw.get("type"), raw.get("data")) if isinstance(raw, dict) else (None, None)
    if kind == "ping":
        return WatchFrame()
    if kind == "error":
        return WatchFrame(error=_error_text(data))
    if kind == "data":
        return _build(data, message)
    return _wrong("no known type", message)


def _build(data: Any, message: bytes) -> WatchFrame:
    try:
        latest = data["latest_build"]
        number, status, updated_at = latest["build_number"], latest["status"], data["updated_at"]
    except (KeyError, TypeError, IndexError):
        return _wrong("data without a build", message)
    if not isinstance(number, int) or not isinstance(status, str) or not isinstance(updated_at, str):
        return _wrong("data with a wrong build", message)
    return WatchFrame(build={"build_number": number, "build_status": status, "updated_at": updated_at})


def _error_text(data: Any) -> str:
    if isinstance(data, dict):
        return ": ".join(str(data[key]) for key in ("message", "detail") if data.get(key))[:MAX_ERROR_TEXT]
    return str(data)[:MAX_ERROR_TEXT]


def _wrong(what: str, message: bytes) -> WatchFrame:
    return WatchFrame(error=f"{what}: {message[:80].decode('utf-8', 'replace')}")
