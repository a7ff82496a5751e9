"""All ready: every replica that a fault took serves again, in time from its start."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from harness.folds import Latch
from harness.objectives.base import Bound, limit
from harness.records import Outcome
from harness.series import SECOND, Interval
from harness.timeline import records_of
from harness.verdict import Finding, Status, bounded

if TYPE_CHECKING:
    from harness.timeline import FaultView, RunView

_GOOD = frozenset({int(Outcome.OK)})
_NEED = 5
"""Good answers in a row, as many as a fault needs to be healed."""


@dataclass(frozen=True)
class AllReady:
    """Seconds from the start of a replica, by the undo of a fault, until it answers well on its own address.

    Ready means five good answers in a row, also to what needs the database. The slowest replica of all faults counts.
    """

    name: ClassVar[str] = "all-ready"
    within: Bound

    def judge(self, run: RunView) -> Finding:
        """Bracket the moment of every replica and compare the slowest with the limit."""
        most, where = limit(self.within), "from the start"
        limits = f"<= {most} s"
        coders = {t["name"] for t in run.targets("coder")}
        started = [(f, name) for f in run.faults if f.injected and f.undone for name in f.prepared.targets]
        spans = [(name, span) for f, name in started if name in coders and (span := _ready(run, f, name))]
        if not spans:
            return Finding(self.name, Status.INCONCLUSIVE, "no replica that is watched was started", limit=limits)
        lo, hi = max(span[0] for _, span in spans), max(span[1] for _, span in spans)
        late = sorted((name, span[0]) for name, span in spans if span[1] == float("inf"))
        if late:
            waited = min(seconds for _, seconds in late)
            status = Status.FAIL if lo > most.value else Status.INCONCLUSIVE
            said = f"{len(late)} of {len(spans)} not ready {waited:.1f} s after the start: {', '.join(name for name, _ in late)}"
            return Finding(self.name, status, said, f"> {lo:.2f} s", limits, where, len(spans))
        last, _ = max(spans, key=lambda pair: pair[1][1])
        said = f"all {len(spans)}, the last {last} within [{lo:.2f}, {hi:.2f}] s"
        value = f"[{lo:.2f}, {hi:.2f}] s"
        return Finding(self.name, bounded(lo, hi, most.value), said, value, limits, where, len(spans))


def _ready(run: RunView, fault: FaultView, name: str) -> tuple[float, float] | None:
    """Bounds of the seconds it took, the upper one infinite when it was not seen ready; None when no lane watches it."""
    if fault.undone is None:
        return None
    began, ended = fault.undone.before_ns, fault.undone.after_ns
    series = run.series(target=name, kinds=("fresh", "db"))
    latches = [Latch(s.lane.id, _GOOD, _NEED, began) for s in series]
    watched = False
    for latch, one in zip(latches, series, strict=True):
        until = _next(run, fault, name)
        for record in records_of(one):
            if began <= record.intended < until:
                watched = True
                latch.feed(record)
    if not watched:
        return None
    at = [latch.at for latch in latches if latch.at]
    if len(at) < len(latches):
        return max(0, _next(run, fault, name) - ended) / SECOND, float("inf")
    moment = Interval(max(a.lo for a in at), max(a.hi for a in at))
    return max(0, moment.lo - ended) / SECOND, (moment.hi - began) / SECOND


def _next(run: RunView, fault: FaultView, name: str) -> int:
    """When the next fault takes the same replica, else the end of what was watched."""
    later = run.faults[run.faults.index(fault) + 1 :]
    onsets = [f.onset.lo for f in later if f.onset and name in f.prepared.targets]
    verify = run.phase("verify")
    return min([*onsets, verify.lo if verify else run.end_ns])
