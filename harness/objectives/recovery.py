"""Recovery: one of the four, within a limit. Not recovered in the window is `> T`, never a number."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from harness.objectives.base import Bound, limit
from harness.recovery import RECOVERIES, seen
from harness.series import SECOND
from harness.verdict import Finding, Status, bounded

if TYPE_CHECKING:
    from harness.timeline import RunView


@dataclass(frozen=True)
class Recovery:
    """`of` is first, stable, capacity or sessions; `within` is seconds from the onset."""

    name: ClassVar[str] = "recovery"
    of: str
    within: Bound

    def judge(self, run: RunView) -> Finding:
        """Compare the bracket with the limit; a censored one fails only beyond the limit."""
        most, name = limit(self.within), f"{self.name}-{self.of}"
        span = RECOVERIES[self.of](run)
        if span is None:
            return Finding(name, Status.INCONCLUSIVE, "nothing to recover from was recorded")
        if span.censored:
            status = Status.FAIL if span.lo / SECOND > most.value else Status.INCONCLUSIVE
            return Finding(
                name, status, f"not recovered in {span.lo / SECOND:.1f} s", str(span), f"<= {most} s", "from onset"
            )
        if not seen(run, span):
            said = f"given as {span}, but nothing that was recorded ends there"
            return Finding(name, Status.INCONCLUSIVE, said, str(span), f"<= {most} s", "from onset")
        status = bounded(span.lo / SECOND, span.hi / SECOND, most.value)
        return Finding(name, status, str(span), str(span), f"<= {most} s", "from onset")
