"""Latency: a quantile of one phase, from the *intended* send time, on a lane that needs the database."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from harness.objectives.base import Bound, limit
from harness.series import Interval, quantile, quantile_interval
from harness.verdict import Finding, Status

if TYPE_CHECKING:
    from harness.timeline import RunView


@dataclass(frozen=True)
class Latency:
    """Quantile `q` of the balancer's `lane` in `phase`, in seconds, with its 95 % order-statistic interval.

    Slots that were never answered count with their deadline, so a hang cannot improve the figure.
    """

    name: ClassVar[str] = "latency"
    at_most: Bound
    phase: str = "calm"
    q: float = 0.95
    lane: str = "db"

    def judge(self, run: RunView) -> Finding:
        """Compare the interval of the quantile with the limit."""
        most, window = limit(self.at_most), run.phase(self.phase)
        label = f"p{self.q * 100:g} of the {self.lane} lane"
        series = run.series(role="balancer", kinds=(self.lane,))
        if window is None or not series:
            return Finding(self.name, Status.INCONCLUSIVE, f"no {self.phase} phase or no {self.lane} lane")
        values = series[0].all_latencies(Interval(*window))
        n, bounds = len(values), quantile_interval(values, self.q)
        if bounds is None:
            return Finding(
                self.name, Status.INCONCLUSIVE, f"{n} samples give no upper bound for {label}", n=n, window=self.phase
            )
        lo, hi, point = bounds.lo / 1e9, bounds.hi / 1e9, quantile(values, self.q) / 1e9
        status = Status.FAIL if lo > most.value else Status.PASS if hi <= most.value else Status.INCONCLUSIVE
        said = f"{label} {point * 1e3:.1f} ms, 95 % interval [{lo * 1e3:.1f}, {hi * 1e3:.1f}] ms"
        return Finding(self.name, status, said, f"{point * 1e3:.1f} ms", f"<= {most} s", self.phase, n)
