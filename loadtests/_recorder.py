"""Writes one record at the start and one at the end of every request of this process.

The format is `LOAD` of `harness.records`; nothing else knows its bytes. Records wait in memory for at most 250 ms, so a
process that is killed loses no more than that, and a request that hangs at the end leaves a start without an end.
"""

from __future__ import annotations

import json
import os
import sys
from itertools import count
from typing import TYPE_CHECKING, Any, Final, NoReturn

import gevent

from harness.records import LOAD, LOAD_DROPPED, LOAD_END, LOAD_START, Outcome
from harness.upstreams import port_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from geventhttpclient.header import Headers

FLUSH_S: Final = 0.25
EXIT_WRITE_FAILED: Final = 74  # EX_IOERR of sysexits.h

_MAX_NAMES = 1 << 16
_MAX_PORTS = 1000
_MAX_LATE_US = (1 << 32) - 1

Opened = tuple[int, int]
"""A request that has started: its number in this file and the index of its name."""


class Recorder:
    """The records file of one process, and its names file beside it.

    A write that fails ends the process with exit code 74: load that nobody can account for is worse than no load.
    """

    start: Callable[[str, str, int, int], Opened]
    """Record that a request starts: method, name, when (monotonic ns), how long after its due moment (ns)."""
    end: Callable[[Opened, int, int, int, int, Headers | None], None]
    """Record how it ended: what `start` gave, outcome, when (monotonic ns), status, bytes of the body, headers."""
    dropped: Callable[[str, int], None]
    """Record that an arrival was not sent: its name, when it was due (monotonic ns). It has no request number."""

    def __init__(self, path: Path, upstream_header: str = "", upstream_ports: Mapping[str, int] | None = None) -> None:
        """Create `path`. An existing file is an error: request numbers start at 0 again and would be taken twice.

        `upstream_header` is the response header in which the balancer names the replica, as HOST:PORT;
        `upstream_ports` the port a replica is known by, by such a value, where it is not that port itself.
        """
        self._path = path
        self._names_path = path.with_name(f"{path.name}.names.json")
        self._names = _Names()
        self._names_written = 0
        self._marks: list[bytes] = []
        self.start, self.end, self.dropped = _hands(
            self._marks, self._names, upstream_header.lower(), _Ports(upstream_ports or {})
        )
        try:
            self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        except OSError as error:
            die(f"cannot create {path}: {error.strerror}")
        self._flusher = gevent.spawn(self._flush_forever)

    def flush(self) -> None:
        """Write what there is."""
        chunk = bytearray().join(self._marks)
        self._marks.clear()
        try:
            # Names go first: whoever reads a record finds its name, also after a kill between the two writes.
            if self._names_written < len(self._names):
                self._write_names()
            while chunk:
                del chunk[: os.write(self._fd, chunk)]
        except OSError as error:
            die(f"cannot write {self._path}: {error.strerror}")

    def close(self) -> None:
        """Write what is left. Requests still open stay open in the file."""
        self._flusher.kill()
        self.flush()
        os.close(self._fd)

    def _flush_forever(self) -> None:
        while True:
            gevent.sleep(FLUSH_S)
            self.flush()

    def _write_names(self) -> None:
        draft = self._names_path.with_suffix(".tmp")
        draft.write_text(json.dumps([f"{method} {name}" for method, name in self._names]), encoding="utf-8")
        draft.replace(self._names_path)
        self._names_written = len(self._names)


def _hands(marks: list[bytes], names: _Names, header: str, ports: _Ports) -> tuple[Any, Any, Any]:
    """Functions of a recorder that run twice per request.

    Closures over locals and C functions, with a price in mind: a request costs about 110 us in all, and what measures it
    should cost less than 2 % of that. Attributes, keywords and further calls would double it.
    """
    put, pack, stored, number = marks.append, LOAD.pack, dict.get, count().__next__
    unknown = int(Outcome.UNKNOWN)

    def start(method: str, name: str, at: int, late_ns: int) -> Opened:
        request, index = number(), names[method, name]
        late = late_ns and min(_MAX_LATE_US, late_ns // 1000)
        put(pack(LOAD_START, unknown, 0, index, 0, request, late, at))
        return request, index

    def end(opened: Opened, outcome: int, at: int, status: int, size: int, headers: Headers | None) -> None:  # noqa: PLR0917
        request, index = opened
        # The header as the library stores it: asking for its text costs more than all the rest.
        port = 0 if headers is None else ports[stored(headers, header)]  # type: ignore[arg-type]
        put(pack(LOAD_END, outcome, status, index, port, request, size, at))

    def dropped(name: str, due: int) -> None:
        put(pack(LOAD_DROPPED, unknown, 0, names["DROPPED", name], 0, 0, 0, due))

    return start, end, dropped


class _Names(dict[tuple[str, str], int]):
    """Index of each method and name, in the order of their first request."""

    def __missing__(self, key: tuple[str, str]) -> int:
        if len(self) >= _MAX_NAMES:
            die(f"more than {_MAX_NAMES} request names; give requests with an id in the path a `name`")
        index = self[key] = len(self)
        return index


class _Ports(dict[object, int]):
    """Port of the replica that a header names, by how geventhttpclient stores the header: as (name, text)."""

    def __init__(self, known: Mapping[str, int]) -> None:
        super().__init__({None: 0})
        self._known = known

    def __missing__(self, stored: object) -> int:
        text = stored[1] if isinstance(stored, tuple) and len(stored) == 2 else stored
        number = 0
        if isinstance(text, str):
            number = self._known[text] if text in self._known else port_of(text)
        if len(self) < _MAX_PORTS:
            self[stored] = number
        return number


def die(reason: str) -> NoReturn:
    """End the process, now: Locust logs whatever a listener or a greenlet raises and goes on."""
    sys.stderr.write(f"load: {reason}\n")
    sys.stderr.flush()
    os._exit(EXIT_WRITE_FAILED)
