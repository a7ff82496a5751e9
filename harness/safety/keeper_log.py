"""The keeper's own log: JSON lines that are on their way to the disk before the next thing is done."""

from __future__ import annotations

import json
import os
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path


class Log:
    """Appends `{t_ns, ev, …}` lines, `t_ns` on the monotonic clock. A full disk must never stop the keeper."""

    def __init__(self, path: Path) -> None:
        self._fd: int | None = None
        with suppress(OSError):
            self._fd = _open(path)

    def turn(self, path: Path) -> None:
        """Go on in another file; raises OSError, and then goes on in the old one."""
        fd, old = _open(path), self._fd
        self.write("turned", to=path)
        self._fd = fd
        if old is not None:
            os.close(old)

    def write(self, ev: str, **facts: Any) -> None:
        """Append one line, or lose it if it cannot be written."""
        line = json.dumps({"t_ns": time.monotonic_ns(), "ev": ev, **facts}, separators=(",", ":"), default=str)
        if self._fd is not None:
            with suppress(OSError):
                os.write(self._fd, line.encode() + b"\n")


def _open(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
