"""Exits: a target that is asked to leave is gone in time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from harness import events as ev
from harness.objectives.base import Bound, limit
from harness.series import SECOND
from harness.verdict import Finding, Status, bounded

if TYPE_CHECKING:
    from harness.timeline import FaultView, RunView


@dataclass(frozen=True)
class Exits:
    """Seconds from the deed to the end of the target's process, the slowest of all faults of the run.

    A target that is still there when the fault is undone took longer than that, whatever ends it then.
    """

    name: ClassVar[str] = "exits"
    within: Bound

    def judge(self, run: RunView) -> Finding:
        """Bracket each target's end and compare the slowest with the limit."""
        most, where = limit(self.within), "from the deed"
        limits = f"<= {most} s"
        ends = [
            (*_end(run, fault, name), name) for fault in run.faults for name in fault.prepared.targets if fault.onset
        ]
        if not ends:
            return Finding(self.name, Status.INCONCLUSIVE, "nothing was injected", limit=limits)
        hi, lo, name = max(ends)
        if hi == float("inf"):
            status = Status.FAIL if lo > most.value else Status.INCONCLUSIVE
            return Finding(self.name, status, f"{name} had not ended after {lo:.2f} s", f"> {lo:.2f} s", limits, where)
        said = f"{name} within [{lo:.2f}, {hi:.2f}] s"
        return Finding(
            self.name, bounded(lo, hi, most.value), said, f"[{lo:.2f}, {hi:.2f}] s", limits, where, len(ends)
        )


def _end(run: RunView, fault: FaultView, name: str) -> tuple[float, float]:
    """Upper and lower bound of the seconds it took; the upper one is infinite when nobody saw the end."""
    onset = fault.onset
    if onset is None:
        raise ValueError("a fault without onset has no end")
    until = fault.undone.before_ns if fault.undone else run.end_ns
    exits = [e.t_ns for e in run.all(ev.ProcessExited) if e.name == name and onset.lo <= e.t_ns < until]
    if not exits:
        return float("inf"), (until - onset.hi) / SECOND
    return (exits[0] - onset.lo) / SECOND, max(0, exits[0] - onset.hi) / SECOND
