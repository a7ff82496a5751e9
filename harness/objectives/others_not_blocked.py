"""Others not blocked: what the frozen replica holds must not stop the healthy ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from harness.objectives.base import Bound, limit
from harness.series import SECOND, Interval
from harness.verdict import Finding, Status, bounded

if TYPE_CHECKING:
    from harness.timeline import RunView


@dataclass(frozen=True)
class OthersNotBlocked:
    """Longest outage of the database lane on the *other* replicas' own addresses while the fault is on, in seconds."""

    name: ClassVar[str] = "others-not-blocked"
    at_most: Bound

    def judge(self, run: RunView) -> Finding:
        """Compare the bounds of the longest outage with the limit."""
        most, fault = limit(self.at_most), run.fault
        limits, where = f"<= {most} s", "while the fault is on"
        if fault is None or fault.onset is None or fault.undone is None:
            return Finding(self.name, Status.INCONCLUSIVE, "no fault, or never undone", limit=limits)
        window = Interval(fault.onset.lo, fault.undone.before_ns)
        lanes = [s for name in fault.prepared.controls for s in run.series(target=name, kinds=("db",))]
        sure = [(o.length.lo, s.lane.target) for s in lanes for o in s.outages(window)]
        # Slots nobody can speak for may all have been bad: they make the upper bound.
        at_worst = [(o.length.hi, s.lane.target) for s in lanes for o in s.outages(window, unknown_is_bad=True)]
        n = sum(len(s.range(window)) for s in lanes)
        if not n:
            return Finding(self.name, Status.INCONCLUSIVE, "no database lane watches another replica", limit=limits)
        if not at_worst:
            return Finding(self.name, Status.PASS, "the others answered every slot", "0 s", limits, where, n)
        lo, hi, name = max(sure, default=(0, ""))[0], *max(at_worst)
        status = bounded(lo / SECOND, hi / SECOND, most.value)
        said = f"{name} could not use the database for [{lo / SECOND:.2f}, {hi / SECOND:.2f}] s"
        return Finding(self.name, status, said, f"[{lo / SECOND:.2f}, {hi / SECOND:.2f}] s", limits, where, n)
