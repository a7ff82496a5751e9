"""The event log: the one writer of `events.jsonl`, and its reader.

Kinds that a reader does not know are kept as `Unknown`; an envelope of a newer major version is refused. `fault.*` and
`resource.*` are on disk (fsync) before the harness goes on, because undo depends on them.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, Self

from harness.errors import RunDirError
from harness.events import KINDS, Event, Unknown

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

VERSION = 1
FILE = "events.jsonl"
_ENVELOPE = ("v", "seq", "t_ns", "kind", "src")


class EventLog:
    """The one writer of `events.jsonl`."""

    def __init__(self, directory: Path, clock_ns: Callable[[], int]) -> None:
        """Create the file; it must not exist yet. `clock_ns` stamps the events."""
        self._clock_ns = clock_ns
        self._seq = 0
        self.refused: RunDirError | None = None
        """Why the disk took no more: from then on nothing is written, and every `emit` raises this."""
        try:
            self._file = (directory / FILE).open("x", encoding="utf-8")
        except OSError as error:
            raise RunDirError(f"cannot write the event log in {directory}: {error.strerror}") from error

    def emit(self, event: Event) -> Event:
        """Stamp, write and flush `event`; raise RunDirError when the disk refuses."""
        if self.refused is not None:
            raise self.refused
        stamped = _stamp(event, self._seq, self._clock_ns())
        line = json.dumps(_to_json(stamped), separators=(",", ":"), sort_keys=False)
        try:
            self._file.write(line + "\n")
            self._file.flush()
            if event.kind.startswith(("fault.", "resource.")):
                os.fsync(self._file.fileno())
        except OSError as error:
            self.refused = RunDirError(f"cannot write to {self._file.name}: {error.strerror}; free space and run again")
            raise self.refused from error
        self._seq += 1
        return stamped

    def close(self) -> None:
        """Close the file; a disk that is full was reported by `emit` already."""
        try:
            self._file.close()
        except OSError:
            return

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@dataclass(frozen=True)
class EventFile:
    """All whole events of a run, and whether the last line was cut."""

    events: list[Event]
    torn: bool


def read_events(directory: Path) -> EventFile:
    """Read `events.jsonl` of a run directory.

    A cut last line is dropped and reported as `torn`. Raises RunDirError, naming file and line, for anything else that
    is not an event, and for a newer major version.
    """
    path = directory / FILE
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise RunDirError(f"{directory} is not a run directory: {FILE}: {error.strerror}") from error
    lines = raw.split(b"\n")
    tail = lines.pop()
    events = [_parse(path, number, line) for number, line in enumerate(lines, 1)]
    return EventFile(events, torn=tail != b"")


def _stamp(event: Event, seq: int, t_ns: int) -> Event:
    values = {f.name: getattr(event, f.name) for f in fields(event)}
    return type(event)(**(values | {"seq": seq, "t_ns": t_ns}))


def _to_json(event: Event) -> dict[str, Any]:
    data = asdict(event)
    if isinstance(event, Unknown):
        data |= data.pop("data")
        kind = data.pop("name")
    else:
        kind = event.kind
    head = {"v": VERSION, "seq": data.pop("seq"), "t_ns": data.pop("t_ns"), "kind": kind, "src": data.pop("src")}
    return head | data


def _parse(path: Path, number: int, line: bytes) -> Event:
    where = f"{path}:{number}"
    try:
        data = json.loads(line)
        envelope = {key: data.pop(key) for key in _ENVELOPE}
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise RunDirError(f"{where}: not an event; the file was changed or damaged") from error
    if not isinstance(envelope["v"], int) or envelope["v"] > VERSION:
        raise RunDirError(f"{where}: written by a newer version (format {envelope['v']}, this one reads {VERSION})")
    common = {"seq": envelope["seq"], "t_ns": envelope["t_ns"], "src": envelope["src"]}
    cls = KINDS.get(envelope["kind"])
    if cls is None:
        return Unknown(name=envelope["kind"], data=data, **common)
    known = {f.name for f in fields(cls)}
    try:
        return cls(**common, **{key: value for key, value in data.items() if key in known})
    except TypeError as error:
        raise RunDirError(f"{where}: event {envelope['kind']} lacks a field: {error}") from error
