"""None before ready: a replica that comes back answers no user before it can answer well."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from harness.records import Outcome
from harness.series import Interval
from harness.verdict import Finding, Status

if TYPE_CHECKING:
    from harness.timeline import RunView


@dataclass(frozen=True)
class NoneBeforeReady:
    """No bad answer of the restarted replica itself reaches a user through the balancer after the undo.

    Only answers that carry the replica's own name count: the balancer's "no such upstream" is not its fault.
    """

    name: ClassVar[str] = "none-before-ready"
    at_most: int = 0

    def judge(self, run: RunView) -> Finding:
        """Count bad answers by the victim from the undo to the end of recovery."""
        fault, window = run.fault, run.window
        if fault is None or window is None or fault.undone is None:
            return Finding(self.name, Status.INCONCLUSIVE, "nothing was undone", limit=f"<= {self.at_most}")
        ports = {run.port_of(name) for name in fault.prepared.targets}
        after = Interval(fault.undone.before_ns, window.hi)
        answered = bad = 0
        for series in run.series(role="balancer"):
            for i in series.range(after):
                if series.upstream[i] in ports and series.outcome[i] in (Outcome.OK, *_ANSWERS):
                    answered += 1
                    bad += series.outcome[i] in _ANSWERS
        said = f"{bad} of its first {answered} answers through the balancer were bad"
        status = Status.FAIL if bad > self.at_most else Status.PASS if answered else Status.INCONCLUSIVE
        return Finding(self.name, status, said, str(bad), f"<= {self.at_most}", "undo to end of recovery", answered)


_ANSWERS = (
    Outcome.SERVER_ERROR,
    Outcome.OTHER_STATUS,
    Outcome.UNAUTHORIZED,
    Outcome.WRONG_BODY,
    Outcome.MALFORMED,
)
