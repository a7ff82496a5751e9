"""Others keep pace: what slows one replica down must not slow the others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from harness.folds import p95_limit
from harness.series import Interval, quantile
from harness.verdict import Finding, Status

if TYPE_CHECKING:
    from harness.timeline import RunView


@dataclass(frozen=True)
class OthersKeepPace:
    """p95 of the database lane on each *other* replica's own address while the fault is on, against its own baseline.

    The limit is that of a recovery: max(1.5 x baseline, baseline + 20 ms).
    """

    name: ClassVar[str] = "others-keep-pace"
    min_slots: int = 40

    def judge(self, run: RunView) -> Finding:
        """Compare the slowest of the others with its own limit."""
        fault, where = run.fault, "while the fault is on"
        if fault is None or fault.onset is None or fault.undone is None:
            return Finding(self.name, Status.INCONCLUSIVE, "no fault, or never undone")
        window = Interval(fault.onset.hi, fault.undone.before_ns)
        rows = []
        for name in fault.prepared.controls:
            for series in run.series(target=name, kinds=("db",)):
                values, before = series.all_latencies(window), run.baseline_p95(series)
                if before is not None and len(values) >= self.min_slots:
                    p95, most = quantile(values, 0.95), p95_limit(before)
                    rows.append((p95 / most, p95, most, name, len(values)))
        if not rows:
            return Finding(self.name, Status.INCONCLUSIVE, "too few slots on the others' database lanes", window=where)
        share, p95, most, name, n = max(rows)
        said = f"p95 of {name} {p95 / 1e6:.1f} ms, the slowest of {len(rows)}"
        status = Status.PASS if share <= 1 else Status.FAIL
        return Finding(self.name, status, said, f"{p95 / 1e6:.1f} ms", f"<= {most / 1e6:.1f} ms", where, n)
