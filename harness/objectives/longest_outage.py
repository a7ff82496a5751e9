"""Outage: the longest stretch in which *every* request through the balancer failed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from harness.objectives.base import Bound, limit
from harness.series import SECOND, degraded
from harness.verdict import Finding, Status, bounded

if TYPE_CHECKING:
    from harness.timeline import RunView


@dataclass(frozen=True)
class LongestOutage:
    """Longest run of consecutive bad slots on the balancer's fresh and database lanes, as an interval in seconds.

    One dead replica behind round robin is degraded, not out: its bad slots stand alone.
    """

    name: ClassVar[str] = "outage"
    at_most: Bound

    def judge(self, run: RunView) -> Finding:
        """Compare the bounds of the longest outage with the limit."""
        most = limit(self.at_most)
        window = run.window
        if window is None or not run.front:
            return Finding(self.name, Status.INCONCLUSIVE, "no fault window or no lane through the balancer")
        sure = [outage.length.lo for s in run.front for outage in s.outages(window)]
        # Slots nobody can speak for may all have been bad: they make the upper bound.
        at_worst = [outage.length.hi for s in run.front for outage in s.outages(window, unknown_is_bad=True)]
        due = sum(len(s.range(window)) for s in run.front)
        if not due:
            return Finding(self.name, Status.INCONCLUSIVE, "no slot is recorded in the window", limit=f"<= {most} s")
        share = max(degraded(s, window) for s in run.front)
        lo, hi = max(sure, default=0) / SECOND, max(at_worst, default=0) / SECOND
        said = f"longest within [{lo:.3f}, {hi:.3f}] s; degraded for {share:.1f} s" if at_worst else "none"
        status = bounded(lo, hi, most.value)
        return Finding(
            self.name, status, said, f"[{lo:.3f}, {hi:.3f}] s", f"<= {most} s", "onset to end of recovery", due
        )
