"""Events: the closed table of kinds. `eventlog` writes and reads them.

`events.jsonl` is the spine of a run directory. One line is one event: the envelope `{v, seq, t_ns, kind, src}` and the
fields of its kind. `t_ns` is CLOCK_MONOTONIC of the harness's kernel.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar


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
    stack_use: dict[str, Any] | None = None
    """In a suite: `{reused, why, started_by, before}`. `why` says why the stack is fresh, `started_by` is the run that
    started it, `before` are the runs that it served. None for a run of its own, whose stack is always fresh."""


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
    floors: dict[str, int] = field(default_factory=dict)
    """For a delay: by lane id, the latency in ns from which an answer is delayed."""
    fronts: list[str] = field(default_factory=list)
    """For an outage, where no target is left as a control: balancers that must answer that nobody is there."""


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
    """The proof did not come before its deadline. `seen` is what was last seen.

    With `delivered` the deed reached its targets all the same, they did not do what it asks, and the run went on.
    """

    kind: ClassVar[str] = "fault.unproven"
    fault: str
    seen: str
    delivered: bool = False


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
class ReplicaLatency(Event):
    """What replicas say of their own way to the database changed somewhere in (since_ns, t_ns].

    `us` maps host name to microseconds of one round trip. What changes below 5 ms is not written.
    """

    kind: ClassVar[str] = "replica.latency"
    since_ns: int
    us: dict[str, int]


@dataclass(frozen=True, kw_only=True)
class HealthReport(Event):
    """What the replica `target` says of its database in a fresh health report, asked for at since_ns, had at t_ns.

    `codes` are its warnings and errors. `latency_ms` is the median of its pings and `threshold_ms` where it begins to warn,
    None where it does not say. `why` is empty unless no report was had.
    """

    kind: ClassVar[str] = "health.report"
    FAR: ClassVar[str] = "EDB02"
    """Code of the warning that the database is far."""
    GONE: ClassVar[str] = "EDB01"
    """Code of the error that it did not answer; then there is no figure either."""
    target: str
    since_ns: int
    codes: list[str] = field(default_factory=list)
    latency_ms: int | None = None
    threshold_ms: int | None = None
    why: str = ""


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
class Schema(Event):
    """The migration table, read past every replica: `rows` are `[version, dirty]`, `when` is baseline or end."""

    kind: ClassVar[str] = "schema"
    when: str
    rows: list[list[Any]]


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
