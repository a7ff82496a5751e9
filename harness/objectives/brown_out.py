"""Brown-out: a target that is slow and stays in costs users its share of the requests, not more."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from harness.folds import p95_limit
from harness.records import UNDECIDED, Outcome
from harness.series import Interval
from harness.verdict import Finding, Status, bounded

if TYPE_CHECKING:
    from harness.series import Series
    from harness.timeline import RunView


@dataclass(frozen=True)
class BrownOut:
    """Share of the balancer's fresh and database slots that failed or were slow while the fault was on, the worse lane.

    Slow is above the limit of a recovery, max(1.5 x p95 of the baseline, that + 20 ms). Allowed is the share of the
    replicas that were hurt, and `slack` more: one of twenty is above p95 on a calm stack too. Who answered slowly is named.
    """

    name: ClassVar[str] = "brown-out"
    slack: float = 0.1
    min_slots: int = 100

    def judge(self, run: RunView) -> Finding:
        """Compare the worse lane's share with the limit."""
        fault, where = run.fault, "while the fault is on"
        if fault is None or fault.onset is None or fault.undone is None:
            return Finding(self.name, Status.INCONCLUSIVE, "no fault, or never undone")
        hurt, replicas = fault.prepared.targets, max(1, len(run.targets("coder")))
        allowed = len(hurt) / replicas + self.slack
        limits = f"<= {allowed:.0%} of the requests ({len(hurt)} of {replicas} replicas, and {self.slack:.0%})"
        rows: list[tuple[float, float, int, str]] = []
        window = Interval(fault.onset.hi, fault.undone.before_ns)
        for series in run.front:
            before, due = run.baseline_p95(series), len(series.range(window))
            if before is None or due < self.min_slots:
                return Finding(self.name, Status.INCONCLUSIVE, "too few slots through the balancer", limit=limits)
            slow, failed, unknown = _count(series, window, p95_limit(before))
            names = ", ".join(f"{run.name_of(port)} {count}" for port, count in slow.most_common()) or "nobody"
            bad = slow.total() + failed
            told = f"{bad / due:.0%} of the {series.lane.kind} lane: {failed} failed, slow by {names}"
            rows.append((bad / due, (bad + unknown) / due, due, told))
        if not rows:
            return Finding(self.name, Status.INCONCLUSIVE, "no lane through the balancer", limit=limits)
        lo, _, due, said = max(rows)
        status = bounded(lo, max(row[1] for row in rows), allowed)
        return Finding(self.name, status, said, f"{lo:.1%}", limits, where, due)


def _count(series: Series, window: Interval, most: int) -> tuple[Counter[int], int, int]:
    """Slow answers by the replica's port, failed slots, and slots nobody can speak for."""
    slow: Counter[int] = Counter()
    failed = unknown = 0
    for i in series.range(window):
        if series.outcome[i] in UNDECIDED or i in series.blurred:
            unknown += 1
        elif series.outcome[i] != Outcome.OK:
            failed += 1
        elif series.latency[i] > most:
            slow[series.upstream[i]] += 1
    return slow, failed, unknown
