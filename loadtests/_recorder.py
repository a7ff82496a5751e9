"""Writes one record at the start and one at the end of every request of this process.

The format is `LOAD` of `harness.records`; nothing else knows its bytes. Records wait in memory for at most 250 ms, so a
process that is killed loses no more than that, and a request that hangs at the end leaves a start without an end.
"""

from __future__ import annotations

import json
import os
import sys
import time
from typing import TYPE_CHECKING, Final, NamedTuple, NoReturn

import gevent

from harness.records import LOAD, LOAD_END, LOAD_START, Outcome

if TYPE_CHECKING:
    from pathlib import Path

FLUSH_S: Final = 0.25
EXIT_WRITE_FAILED: Final = 74  # EX_IOERR of sysexits.h

_MAX_NAMES = 1 << 16
_MAX_SIZE = (1 << 32) - 1


class Opened(NamedTuple):
    """A request that has started: its number in this file and the index of its name."""

    request: int
    name: int


class Recorder:
    """The records file of one process, and its names file beside it.

    A write that fails ends the process with exit code 74: load that nobody can account for is worse than no load.
    """

    def __init__(self, path: Path) -> None:
        """Create `path`. An existing file is an error: request numbers start at 0 again and would be taken twice."""
        self._path = path
        self._names_path = path.with_name(f"{path.name}.names.json")
        self._names: dict[str, int] = {}
        self._names_written = 0
        self._buffer = bytearray()
        self._requests = 0
        try:
            self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        except OSError as error:
            _die(f"cannot create {path}: {error.strerror}")
        self._flusher = gevent.spawn(self._flush_forever)

    def start(self, name: str) -> Opened:
        """Record that a request of `name` starts now."""
        index = self._names.setdefault(name, len(self._names))
        if index >= _MAX_NAMES:
            _die(f"more than {_MAX_NAMES} request names; give requests with an id in the path a `name`")
        opened = Opened(self._requests, index)
        self._requests += 1
        self._put(LOAD_START, Outcome.UNKNOWN, opened, at=time.monotonic_ns())
        return opened

    def end(
        self, opened: Opened, outcome: Outcome, *, at: int, status: int = 0, upstream: int = 0, size: int = 0
    ) -> None:
        """Record how the request ended. `at` is in monotonic ns, `size` the bytes of the decoded body."""
        self._put(LOAD_END, outcome, opened, at=at, status=status, upstream=upstream, size=min(size, _MAX_SIZE))

    def close(self) -> None:
        """Write what is left. Requests still open stay open in the file."""
        self._flusher.kill()
        self._flush()
        os.close(self._fd)

    def _put(
        self, kind: int, outcome: Outcome, opened: Opened, *, at: int, status: int = 0, upstream: int = 0, size: int = 0
    ) -> None:
        self._buffer += LOAD.pack(kind, outcome, status, opened.name, upstream, opened.request, size, at)

    def _flush_forever(self) -> None:
        while True:
            gevent.sleep(FLUSH_S)
            self._flush()

    def _flush(self) -> None:
        chunk, self._buffer = self._buffer, bytearray()
        try:
            # Names go first: whoever reads a record finds its name, also after a kill between the two writes.
            if self._names_written < len(self._names):
                self._write_names()
            while chunk:
                del chunk[: os.write(self._fd, chunk)]
        except OSError as error:
            _die(f"cannot write {self._path}: {error.strerror}")

    def _write_names(self) -> None:
        draft = self._names_path.with_suffix(".tmp")
        draft.write_text(json.dumps(list(self._names)), encoding="utf-8")
        draft.replace(self._names_path)
        self._names_written = len(self._names)


def _die(reason: str) -> NoReturn:
    # Locust logs whatever a listener or a greenlet raises and goes on, so an exception would end nothing here.
    sys.stderr.write(f"load: {reason}\n")
    sys.stderr.flush()
    os._exit(EXIT_WRITE_FAILED)
