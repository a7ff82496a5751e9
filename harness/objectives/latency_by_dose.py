"""Latency by dose: how far the database may be before users feel it, and from where on they do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from harness.objectives.base import Bound, limit
from harness.series import Interval, quantile, quantile_interval
from harness.verdict import Finding, Status

if TYPE_CHECKING:
    from harness.timeline import FaultView, RunView

_ERRORS = 0.01


class _Step(NamedTuple):
    """One dose in ms: p95 with its bounds in ns (None for too few samples), bad and due slots."""

    dose: int
    p95: int
    bounds: Interval | None
    bad: int
    due: int


@dataclass(frozen=True)
class LatencyByDose:
    """p95 of the balancer's database lane at each `rtt_ms`, from its proof to its undo, in seconds.

    Gated up to `up_to_ms`; at most 1 % of the slots may be bad up to `errors_up_to_ms`. What lies above is measured, and
    the knee, where p95 leaves the limit for good, is told as an interval between two doses or as above one.
    """

    name: ClassVar[str] = "latency-by-dose"
    at_most: Bound
    up_to_ms: int = 10
    errors_up_to_ms: int = 25

    def judge(self, run: RunView) -> Finding:
        """Judge the steps that are promised, tell about the rest."""
        most = limit(self.at_most)
        limits = f"<= {most} s up to {self.up_to_ms} ms, no errors up to {self.errors_up_to_ms} ms"
        steps = sorted(step for fault in run.faults for step in _steps(run, fault))
        if not any(step.dose <= self.up_to_ms for step in steps):
            said = f"no proven step of {self.up_to_ms} ms or less"
            return Finding(self.name, Status.INCONCLUSIVE, said, limit=limits)
        told = ", ".join(
            f"{s.p95 / 1e6:.0f} ms at +{s.dose}{f' ({s.bad} of {s.due} bad)' * bool(s.bad)}" for s in steps
        )
        said = f"p95 {told}; {_knee(steps, most.value)}"
        statuses = {self._status(step, most.value) for step in steps}
        status = next(s for s in (Status.FAIL, Status.INCONCLUSIVE, Status.PASS) if s in statuses | {Status.PASS})
        return Finding(self.name, status, said, told, limits, "each dose, from its proof", sum(s.due for s in steps))

    def _status(self, step: _Step, most: float) -> Status:
        if step.dose <= self.errors_up_to_ms and step.bad > _ERRORS * step.due:
            return Status.FAIL
        if step.dose > self.up_to_ms:
            return Status.MEASURED
        if step.bounds is None or step.bounds.lo / 1e9 <= most < step.bounds.hi / 1e9:
            return Status.INCONCLUSIVE
        return Status.FAIL if step.bounds.lo / 1e9 > most else Status.PASS


def _steps(run: RunView, fault: FaultView) -> list[_Step]:
    dose = fault.prepared.params.get("rtt_ms")
    series = run.series(role="balancer", kinds=("db",))
    if dose is None or fault.proven is None or fault.undone is None or not series:
        return []
    window = Interval(fault.proven.t_ns, fault.undone.before_ns)
    values = series[0].all_latencies(window)
    bad, _, due = series[0].count_bad(window)
    return [_Step(int(dose), quantile(values, 0.95), quantile_interval(values, 0.95), bad, due)] if values else []


def _knee(steps: list[_Step], most: float) -> str:
    """Between the last dose that surely keeps the limit and the first from which on all surely break it; 0 is no delay.

    A breach below a dose that keeps it is not the dose's doing, and is named apart.
    """
    over = [step.bounds is not None and step.bounds.lo / 1e9 > most for step in steps]
    beyond = len(steps)
    while beyond and over[beyond - 1]:
        beyond -= 1
    kept = [n for n, s in enumerate(steps[:beyond]) if s.bounds is not None and s.bounds.hi / 1e9 <= most]
    last = kept[-1] if kept else -1
    under = steps[last].dose if kept else 0
    apart = ", ".join(f"+{step.dose}" for n, step in enumerate(steps[: last + 1]) if over[n])
    said = f"knee between {under} ms and {steps[beyond].dose} ms" if beyond < len(steps) else f"knee above {under} ms"
    return f"{said}, though {apart} was over the limit too" if apart else said
