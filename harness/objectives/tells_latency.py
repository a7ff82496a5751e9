"""Tells latency: a replica that is far from its database says so itself, where an operator looks."""

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
class TellsLatency:
    """Seconds from the onset of a delay until the list of replicas gives its target the dose or more, the slowest.

    The figure is the replica's own (`database_latency` of `GET /replicas`), one round trip, so it cannot rightly be less
    than what was added to it. One that is undone first was not told of in that time.
    """

    name: ClassVar[str] = "tells-latency"
    within: Bound

    def judge(self, run: RunView) -> Finding:
        """Bracket the first report of each target that has the dose in it, and compare the slowest with the limit."""
        most, where = limit(self.within), "from the onset of each delay"
        limits = f"<= {most} s"
        told = [
            (*_told(run, fault, name, fault.prepared.params["rtt_ms"]), name)
            for fault in run.faults
            if fault.onset and "rtt_ms" in fault.prepared.params
            for name in fault.prepared.targets
        ]
        if not told:
            return Finding(self.name, Status.INCONCLUSIVE, "nothing was delayed", limit=limits)
        hi, lo, last, name = max(told)
        if hi == float("inf"):
            status = Status.FAIL if lo > most.value else Status.INCONCLUSIVE
            said = f"{name} had not told of it after {lo:.2f} s; it says {last}"
            return Finding(self.name, status, said, f"> {lo:.2f} s", limits, where, len(told))
        said = f"{name} told of it within [{lo:.2f}, {hi:.2f}] s: {last}"
        status = bounded(lo, hi, most.value)
        return Finding(self.name, status, said, f"[{lo:.2f}, {hi:.2f}] s", limits, where, len(told))


def _told(run: RunView, fault: FaultView, name: str, dose_ms: float) -> tuple[float, float, str]:
    """Upper and lower bound in seconds, and the figure; the upper one is infinite when it was never told."""
    onset = fault.onset
    if onset is None:
        raise ValueError("a fault without onset is never told of")
    until = fault.undone.before_ns if fault.undone else run.end_ns
    last = "nothing"
    for report in run.all(ev.ReplicaLatency):
        us = report.us.get(name)
        if us is None or report.t_ns > until:
            continue
        last = f"{us / 1000:.1f} ms"
        if report.t_ns > onset.lo and us >= dose_ms * 1000:
            return (report.t_ns - onset.lo) / SECOND, max(0, report.since_ns - onset.hi) / SECOND, last
    return float("inf"), (until - onset.hi) / SECOND, last
