"""Others keep pace: what slows one replica down must not slow the others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from harness.folds import p95_limit
from harness.series import Interval, quantile, quantile_interval
from harness.verdict import Finding, Status

if TYPE_CHECKING:
    from harness.timeline import RunView

_PPM = 1_000_000


@dataclass(frozen=True)
class OthersKeepPace:
    """p95 of the database lane on each *other* replica's own address while the fault is on, against its own baseline.

    The limit is that of a recovery: max(1.5 x baseline, baseline + 20 ms). A few seconds of one lane are too few slots
    for a p95 of its own, so all others are judged together: every slot as a share of its replica's limit, and the 95 %
    order-statistic interval of the p95 of these shares. All of it must lie within the limits, or beyond them.
    """

    name: ClassVar[str] = "others-keep-pace"

    def judge(self, run: RunView) -> Finding:
        """Compare the others with their own limits; the slowest is named."""
        fault, where = run.fault, "while the fault is on"
        if fault is None or fault.onset is None or fault.undone is None:
            return Finding(self.name, Status.INCONCLUSIVE, "no fault, or never undone")
        window = Interval(fault.onset.hi, fault.undone.before_ns)
        rows, shares = [], []
        for name in fault.prepared.controls:
            for series in run.series(target=name, kinds=("db",)):
                values, before = series.all_latencies(window), run.baseline_p95(series)
                if before is not None and values:
                    p95, most = quantile(values, 0.95), p95_limit(before)
                    rows.append((p95 / most, p95, most, name))
                    shares += [value * _PPM // most for value in values]
        bounds = quantile_interval(sorted(shares), 0.95)
        if not rows or bounds is None:
            text = f"{len(shares)} slots on the others' database lanes are too few for a p95"
            return Finding(self.name, Status.INCONCLUSIVE, text, window=where)
        _, p95, most, name = max(rows)
        lo, hi = bounds.lo / _PPM, bounds.hi / _PPM
        status = Status.FAIL if lo > 1 else Status.PASS if hi <= 1 else Status.INCONCLUSIVE
        said = (
            f"p95 of {name} {p95 / 1e6:.1f} ms, the slowest of {len(rows)}; "
            f"together [{lo:.0%}, {hi:.0%}] of their limits"
        )
        return Finding(self.name, status, said, f"{p95 / 1e6:.1f} ms", f"<= {most / 1e6:.1f} ms", where, len(shares))
