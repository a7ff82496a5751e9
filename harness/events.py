"""Events: the closed table of kinds, the log that writes them, and `read_events`.

`events.jsonl` is the spine of a run directory. One line is one event: the envelope `{v, seq, t_ns, kind, src}` and the
fields of its kind. `t_ns` is CLOCK_MONOTONIC of the harness's kernel. Kinds that a reader does not know are kept as
`Unknown`; an envelope of a newer major version is refused. `fault.*` and `resource.*` are on disk (fsync) before the
harness goes on, because undo depends on them.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any, ClassVar, Self

from harness.errors import RunDirError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

VERSION = 1
FILE = "events.jsonl"
_ENVELOPE = ("v", "seq", "t_ns", "kind", "src")


@dataclass(frozen=True, kw_only=True)
class Event:
    """Base of all kinds. `seq` and `t_ns` are set by the log."""

    kind: ClassVar[str]
    seq: int = -1
    t_ns: int = 0
    src: str = "runner"


@dataclass(frozen=True, kw_only=True)
class Header(Event):
    """What this run is: everything resolved before the first process starts."""

    kind: ClassVar[str] = "run.header"
    run: str
    scenario: str
    promise: str
    stack: str
    seed: int
    settings: dict[str, Any]
    objectives: list[dict[str, Any]]
    versions: dict[str, str]
    boot_id: str
    wall_ns: int
    command: list[str]
    git: str | None = None
    harness: str = ""
    """The harness's own process, pid@start."""


@dataclass(frozen=True, kw_only=True)
class Plan(Event):
    """The dry run's decisions: a list of `{fault, name, role, targets, params, shows, undo, late}`."""

    kind: ClassVar[str] = "plan"
    steps: list[dict[str, Any]]


@dataclass(frozen=True, kw_only=True)
class ResourceCreated(Event):
    """Something of ours exists outside the run directory: a process, a temp folder, a proxy."""

    kind: ClassVar[str] = "resource.created"
    what: str
    name: str
    ref: str


@dataclass(frozen=True, kw_only=True)
class StackReady(Event):
    """The topology a backend found: `targets` are `{name, role, host, port, upstream_port}`."""

    kind: ClassVar[str] = "stack.ready"
    targets: list[dict[str, Any]]
    time_scale: float
    version: str
    took_s: float


@dataclass(frozen=True, kw_only=True)
class Bootstrapped(Event):
    """What was made through the API before the load: counts, and the watched workspaces."""

    kind: ClassVar[str] = "stack.bootstrapped"
    users: int
    workspaces: list[str]


@dataclass(frozen=True, kw_only=True)
class MeterStarted(Event):
    """The lanes and watchers of the meter, without their secrets."""

    kind: ClassVar[str] = "meter.started"
    lanes: list[dict[str, Any]]
    watchers: list[dict[str, Any]]
    deadline_ms: int


@dataclass(frozen=True, kw_only=True)
class LoadStarted(Event):
    """The load: record files and the rate it was asked for, in requests/s."""

    kind: ClassVar[str] = "load.started"
    files: list[str]
    users: int
    rate: float


@dataclass(frozen=True, kw_only=True)
class Phase(Event):
    """A phase begins (and the one before it ends): warmup, baseline, fault, recovery, calm, verify."""

    kind: ClassVar[str] = "phase"
    name: str


@dataclass(frozen=True, kw_only=True)
class BaselineBroken(Event):
    """The rate objectives do not hold without any fault: nothing is injected."""

    kind: ClassVar[str] = "baseline.broken"
    why: str


@dataclass(frozen=True, kw_only=True)
class FaultPrepared(Event):
    """The journal entry: written and synced before the deed. `undo` are steps of `harness.safety.undo`."""

    kind: ClassVar[str] = "fault.prepared"
    fault: str
    name: str
    targets: list[str]
    controls: list[str]
    params: dict[str, Any]
    shows: dict[str, Any]
    undo: list[dict[str, Any]]
    revert_by_ns: int


@dataclass(frozen=True, kw_only=True)
class FaultInjected(Event):
    """The deed, stamped before and after: the onset lies in [before_ns, after_ns]."""

    kind: ClassVar[str] = "fault.injected"
    fault: str
    before_ns: int
    after_ns: int


@dataclass(frozen=True, kw_only=True)
class FaultProven(Event):
    """The path shows what the fault declared, and the control does not."""

    kind: ClassVar[str] = "fault.proven"
    fault: str
    witness: str
    state: str


@dataclass(frozen=True, kw_only=True)
class FaultUnproven(Event):
    """The proof did not come before its deadline. `seen` is what was last seen."""

    kind: ClassVar[str] = "fault.unproven"
    fault: str
    seen: str


@dataclass(frozen=True, kw_only=True)
class FaultUndone(Event):
    """The undo ran: `outcomes` are `{do, ok, said}`. Stamped before and after like the deed."""

    kind: ClassVar[str] = "fault.undone"
    fault: str
    before_ns: int
    after_ns: int
    outcomes: list[dict[str, Any]]
    by: str = "runner"


@dataclass(frozen=True, kw_only=True)
class FaultHealed(Event):
    """The target serves again on its own address."""

    kind: ClassVar[str] = "fault.healed"
    fault: str
    witness: str


@dataclass(frozen=True, kw_only=True)
class FaultUnhealed(Event):
    """The target did not serve again before the deadline."""

    kind: ClassVar[str] = "fault.unhealed"
    fault: str
    seen: str


@dataclass(frozen=True, kw_only=True)
class Membership(Event):
    """The replica list changed somewhere in (since_ns, t_ns]: `members` maps replica id to host name."""

    kind: ClassVar[str] = "membership"
    since_ns: int
    members: dict[str, str]


@dataclass(frozen=True, kw_only=True)
class ProcessExited(Event):
    """A process of the stack ended. `code` is negative for a signal."""

    kind: ClassVar[str] = "process.exited"
    name: str
    pid: int
    code: int


@dataclass(frozen=True, kw_only=True)
class Recovered(Event):
    """Recovery ended: stable again, or its window closed."""

    kind: ClassVar[str] = "recovery.ended"
    stable: bool
    seen: str


@dataclass(frozen=True, kw_only=True)
class Truth(Event):
    """What exists at the end. `builds` maps workspace id to `{build number: [transition, rows]}`."""

    kind: ClassVar[str] = "truth"
    by: str
    builds: dict[str, dict[str, list[Any]]]


@dataclass(frozen=True, kw_only=True)
class Aborted(Event):
    """A guardrail or an operator ended the run early."""

    kind: ClassVar[str] = "run.aborted"
    by: str
    why: str


@dataclass(frozen=True, kw_only=True)
class Broken(Event):
    """The harness itself failed. The run can prove nothing more."""

    kind: ClassVar[str] = "run.broken"
    error: str
    why: str


@dataclass(frozen=True, kw_only=True)
class Note(Event):
    """Free text from a scenario."""

    kind: ClassVar[str] = "note"
    text: str


@dataclass(frozen=True, kw_only=True)
class Sealed(Event):
    """The last event: every record file is complete. The manifest is written after it."""

    kind: ClassVar[str] = "run.sealed"
    wall_ns: int


@dataclass(frozen=True, kw_only=True)
class Unknown(Event):
    """An event of a kind this version does not know; kept as it is."""

    kind: ClassVar[str] = "?"
    name: str
    data: dict[str, Any] = field(default_factory=dict)


KINDS: dict[str, type[Event]] = {cls.kind: cls for cls in Event.__subclasses__() if cls is not Unknown}


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
