"""A run directory as a judge sees it: phases, faults, lanes, sessions, writes. Pure: no clock, network or environment."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

from harness import events as ev
from harness import ledger
from harness.errors import RunDirError
from harness.eventlog import read_events
from harness.folds import AllStable, Stable, p95_limit
from harness.populations import SessionLedger, read_sessions
from harness.records import read_slots
from harness.series import Interval, Lane, Series, quantile
from harness.timings import BALANCERS, TUNED, Env

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SLOTS = "slots.bin"
LATE = "late.bin"
METER = "meter.jsonl"
MANIFEST = "manifest.json"
STALL_NS = 100_000_000
"""Stalls of the meter shorter than this are within its resolution."""

E = TypeVar("E", bound=ev.Event)


@dataclass(frozen=True)
class FaultView:
    """One fault of the run, with every stage it reached. `controls` and `targets` are names of targets."""

    prepared: ev.FaultPrepared
    injected: ev.FaultInjected | None
    proven: ev.FaultProven | None
    unproven: ev.FaultUnproven | None
    undone: ev.FaultUndone | None
    healed: ev.FaultHealed | None
    unhealed: ev.FaultUnhealed | None

    @property
    def onset(self) -> Interval | None:
        """Bracket of the deed."""
        return Interval(self.injected.before_ns, self.injected.after_ns) if self.injected else None


class RunView:
    """Everything a judge may look at. Raises RunDirError when the directory cannot be read."""

    def __init__(self, directory: Path) -> None:
        """Read the events at once; records are read on first use."""
        self.directory = directory
        file = read_events(directory)
        self.events, self.torn = file.events, file.torn
        if not self.events or not isinstance(self.events[0], ev.Header):
            raise RunDirError(f"{directory}: its event log does not begin with a run header; nothing can be judged")
        self.header: ev.Header = self.events[0]

    def all(self, kind: type[E]) -> list[E]:
        """All events of a kind, in order."""
        return [event for event in self.events if isinstance(event, kind)]

    def last(self, kind: type[E]) -> E | None:
        """Last event of a kind."""
        found = self.all(kind)
        return found[-1] if found else None

    @cached_property
    def stack(self) -> ev.StackReady | None:
        """The topology, once the stack was ready."""
        return self.last(ev.StackReady)

    @cached_property
    def env(self) -> Env:
        """What formulas are resolved against."""
        replicas = len(self.targets("coder")) or int(self.header.settings.get("replicas", 3))
        scale = self.stack.time_scale if self.stack else float(self.header.settings.get("time_scale", 1.0))
        balancer = BALANCERS.get(self.header.settings.get("balancer", TUNED.name), TUNED)
        return Env(scale=scale, replicas=replicas, balancer=balancer)

    def targets(self, role: str) -> list[dict[str, Any]]:
        """Targets of a role as the backend found them."""
        return [t for t in (self.stack.targets if self.stack else []) if t["role"] == role]

    def port_of(self, name: str) -> int:
        """Port by which the balancer names the replica `name`, 0 if unknown."""
        return next((_known_as(t) for t in self.targets("coder") if t["name"] == name), 0)

    def name_of(self, port: int) -> str:
        """Replica behind an upstream port."""
        return next((t["name"] for t in self.targets("coder") if _known_as(t) == port), f"port {port}" if port else "?")

    @property
    def end_ns(self) -> int:
        """Time of the last event."""
        return self.events[-1].t_ns

    @cached_property
    def phases(self) -> list[tuple[str, Interval]]:
        """Phases in order; the last one ends with the run."""
        starts = self.all(ev.Phase)
        ends = [p.t_ns for p in starts[1:]] + [self.end_ns] * bool(starts)
        return [(p.name, Interval(p.t_ns, end)) for p, end in zip(starts, ends, strict=True)]

    def phase(self, name: str) -> Interval | None:
        """First phase of that name."""
        return next((window for phase, window in self.phases if phase == name), None)

    @cached_property
    def faults(self) -> list[FaultView]:
        """All faults that were prepared."""

        def stage(kind: type[E], fault: str) -> E | None:
            return next((e for e in self.all(kind) if e.fault == fault), None)  # type: ignore[attr-defined]

        return [
            FaultView(
                p,
                stage(ev.FaultInjected, p.fault),
                stage(ev.FaultProven, p.fault),
                stage(ev.FaultUnproven, p.fault),
                stage(ev.FaultUndone, p.fault),
                stage(ev.FaultHealed, p.fault),
                stage(ev.FaultUnhealed, p.fault),
            )
            for p in self.all(ev.FaultPrepared)
        ]

    @cached_property
    def fault(self) -> FaultView | None:
        """The first fault that was injected: most scenarios have one."""
        return next((f for f in self.faults if f.injected), None)

    @cached_property
    def window(self) -> Interval | None:
        """Default window of objectives: [onset of the first fault, end of recovery]. Calm time never buys a pass."""
        if self.fault is None or self.fault.onset is None:
            return None
        ended = self.last(ev.Recovered)
        return Interval(self.fault.onset.lo, ended.t_ns if ended else self.end_ns)

    @cached_property
    def fault_windows(self) -> list[Interval]:
        """For every injected fault, [its onset, the next one's onset or the end of recovery]."""
        onsets = [fault.onset.lo for fault in self.faults if fault.onset]
        if self.window is None:
            return []
        return [Interval(a, b) for a, b in zip(onsets, [*onsets[1:], self.window.hi], strict=True)]

    @cached_property
    def lanes(self) -> dict[int, Lane]:
        """All probe lanes by id."""
        started = self.last(ev.MeterStarted)
        rows = started.lanes if started else []
        return {r["id"]: Lane(r["id"], r["target"], r["role"], r["kind"], r["rate_hz"]) for r in rows}

    @cached_property
    def stalls(self) -> list[Interval]:
        """Times at which the meter itself stood still for 100 ms or more."""
        rows = [Interval(*row["stall"]) for row in ledger.read_rows(self.directory / METER) if "stall" in row]
        return [stall for stall in rows if stall.hi - stall.lo >= STALL_NS]

    @cached_property
    def vitals(self) -> list[dict[str, Any]]:
        """The meter's rows about the machine and itself, about one a second, each with its `t_ns`; the first says `start`."""
        rows = ledger.read_rows(self.directory / METER)
        return [row.get("start", row) for row in rows if "start" in row or "steal_s" in row]

    @cached_property
    def tally(self) -> dict[int, list[int]] | None:
        """The meter's own count of its records, per lane and outcome; None when it left none."""
        rows = [row["tally"] for row in ledger.read_rows(self.directory / METER) if isinstance(row.get("tally"), dict)]
        return {int(lane): list(counts) for lane, counts in rows[-1].items()} if rows else None

    @cached_property
    def outcomes(self) -> Counter[tuple[int, int]]:
        """Records by lane and outcome as they were written, before a stall of the meter excuses any."""
        path = self.directory / SLOTS
        return Counter((r.lane, r.outcome) for r in read_slots(path)) if path.is_file() else Counter()

    @cached_property
    def _series(self) -> dict[int, Series]:
        series = {lane.id: Series(lane) for lane in self.lanes.values()}
        path = self.directory / SLOTS
        for record in read_slots(path) if path.is_file() else ():
            if record.lane in series:
                series[record.lane].append(record)
        path = self.directory / LATE
        for record in read_slots(path) if path.is_file() else ():
            if record.lane in series:
                series[record.lane].follow(record)
        return {id_: s.sort(self.stalls) for id_, s in series.items()}

    def lane(self, id_: int) -> Series:
        """One lane's slots."""
        return self._series[id_]

    def series(
        self, *, role: str | None = None, target: str | None = None, kinds: tuple[str, ...] = ()
    ) -> list[Series]:
        """Lanes that match, in the order of the plan."""
        return [
            s
            for s in self._series.values()
            if (role is None or s.lane.role == role)
            and (target is None or s.lane.target == target)
            and (not kinds or s.lane.kind in kinds)
        ]

    @cached_property
    def front(self) -> list[Series]:
        """Fresh and database lanes of the balancer: what *unavailable* is counted on."""
        return self.series(role="balancer", kinds=("fresh", "db"))

    @cached_property
    def sessions(self) -> SessionLedger:
        """The session ledger, by populations."""
        return read_sessions(self.directory / ledger.SESSIONS)

    @cached_property
    def history(self) -> list[ledger.Write]:
        """The write history."""
        return ledger.history(self.directory / ledger.HISTORY)

    @cached_property
    def endings(self) -> list[ledger.Ending]:
        """Which builds of the writers were over, and which were given up."""
        return ledger.endings(self.directory / ledger.HISTORY)

    @cached_property
    def sealed(self) -> str | None:
        """None when the evidence is whole; else what is missing or changed, in words."""
        if self.torn:
            return "its event log is cut in mid-line"
        if not isinstance(self.events[-1], ev.Sealed):
            return f"it ended early; the last event is {self.events[-1].kind}"
        return check_manifest(self.directory)

    def baseline_p95(self, series: Series) -> int | None:
        """p95 of good answers of a lane in the baseline, ns."""
        window = self.phase("baseline")
        good = series.good_latencies(window) if window else []
        return quantile(good, 0.95) if good else None

    @cached_property
    def stable(self) -> AllStable | None:
        """The stable fold over the balancer's lanes, from the onset of the first fault."""
        window = self.window
        limits = {s.lane.id: self.baseline_p95(s) for s in self.front}
        if window is None or self.fault is None or not limits or None in limits.values():
            return None
        fold = AllStable([Stable(id_, window.lo, p95_limit(p95)) for id_, p95 in limits.items() if p95 is not None])
        for series in self.front:
            self._feed(fold, series)
        return fold

    def _feed(self, fold: AllStable, series: Series) -> None:
        for record in records_of(series):
            fold.feed(record)
            if all(lane.at or lane.lane != series.lane.id for lane in fold.lanes):
                return


def records_of(series: Series) -> Iterator[Any]:
    """Give a series' slots back as records, for a fold."""
    from harness.records import Slot  # noqa: PLC0415 - only the folds need whole records

    lane = series.lane.id
    for i in range(len(series.slot)):
        due = series.intended[i]
        yield Slot(
            lane, series.outcome[i], 0, 0, series.upstream[i], series.slot[i], due, due, 0, 0, due + series.latency[i]
        )


def _known_as(target: dict[str, Any]) -> int:
    """Port by which records know a replica."""
    return int(target.get("upstream_port", target["port"]))


def check_manifest(directory: Path) -> str | None:
    """Compare the files with `manifest.json`; None when all agree."""
    import hashlib  # noqa: PLC0415 - only here

    path = directory / MANIFEST
    try:
        files = dict[str, str](json.loads(path.read_text())["files"])
    except (OSError, ValueError, KeyError, TypeError):
        return "it was never sealed: its manifest is missing or unreadable"
    for name, digest in sorted(files.items()):
        try:
            found = hashlib.sha256((directory / name).read_bytes()).hexdigest()
        except OSError:
            return f"{name} is missing"
        if found != digest:
            return f"{name} was changed after the run (sha256 differs from the manifest)"
    return None
