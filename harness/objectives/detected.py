"""Detected: how long until the fault reached the first user. A figure; it gates nothing unless a limit is given."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from harness.objectives.base import Bound, limit
from harness.recovery import detected
from harness.series import SECOND
from harness.verdict import Finding, Status, bounded

if TYPE_CHECKING:
    from harness.timeline import RunView


@dataclass(frozen=True)
class Detected:
    """Time from the onset to the first bad slot through the balancer, in seconds."""

    name: ClassVar[str] = "time-to-detect"
    within: Bound | None = None

    def judge(self, run: RunView) -> Finding:
        """Measure; with a limit, compare."""
        span = detected(run)
        if span is None:
            return Finding(self.name, Status.INCONCLUSIVE, "no fault window")
        if self.within is None:
            said = "no user was hurt" if span.censored else str(span)
            return Finding(self.name, Status.MEASURED, said, str(span), "", "from onset")
        most = limit(self.within)
        status = Status.INCONCLUSIVE if span.censored else bounded(span.lo / SECOND, span.hi / SECOND, most.value)
        return Finding(self.name, status, str(span), str(span), f"<= {most} s", "from onset")
