"""Bad seconds: how much service was lost, as the bad slots of a lane divided by its rate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from harness.objectives.base import Bound, limit
from harness.verdict import Finding, Status, bounded

if TYPE_CHECKING:
    from harness.timeline import RunView


@dataclass(frozen=True)
class BadSeconds:
    """The worst of the balancer's fresh and database lanes, over [onset, end of recovery], in seconds.

    The lower bound counts slots that certainly failed, the upper one also those nobody can speak for. With `per_fault`
    each fault has its own window, up to the next onset, and the worst of them is compared.
    """

    name: ClassVar[str] = "bad-seconds"
    at_most: Bound
    min_slots: int = 50
    per_fault: bool = False

    def judge(self, run: RunView) -> Finding:
        """Compare the worst lane's bounds with the limit."""
        most = limit(self.at_most)
        if run.window is None or not run.front:
            return Finding(self.name, Status.INCONCLUSIVE, "no fault window or no lane through the balancer")
        rows = []
        windows = run.fault_windows if self.per_fault else [run.window]
        for window in windows:
            for series in run.front:
                bad, unknown, due = series.count_bad(window)
                rate = series.lane.rate_hz
                rows.append(((bad + unknown) / rate, bad / rate, due, series.lane.kind))
        hi, lo, due, kind = max(rows)
        lo = max(row[1] for row in rows)
        status = bounded(lo, hi, most.value) if min(row[2] for row in rows) >= self.min_slots else Status.INCONCLUSIVE
        each = ", ".join(f"{row[3]} {row[1]:.2f} s" for row in rows)
        said = f"{lo:.2f} to {hi:.2f} s on the {kind} lane" if hi - lo >= 0.005 else f"{lo:.2f} s ({each})"
        where = f"each of {len(windows)} faults, to the next one" if self.per_fault else "onset to end of recovery"
        return Finding(self.name, status, said, f"{lo:.2f} s", f"<= {most} s", where, due)
