"""Membership: the list of replicas forgets a dead one in time, and not before its last heartbeat is stale."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from harness import events as ev
from harness.objectives.base import Bound, limit
from harness.series import SECOND
from harness.verdict import Finding, Status

if TYPE_CHECKING:
    from harness.timeline import RunView


@dataclass(frozen=True)
class MembershipDrops:
    """The killed replica's id leaves the list between `earliest` and `latest` seconds after the onset."""

    name: ClassVar[str] = "membership-drops"
    earliest: Bound
    latest: Bound

    def judge(self, run: RunView) -> Finding:
        """Bracket the first list without the victim's id."""
        least, most, fault = limit(self.earliest), limit(self.latest), run.fault
        limits = f"{least} to {most} s"
        if fault is None or fault.onset is None:
            return Finding(self.name, Status.INCONCLUSIVE, "no fault window", limit=limits)
        lists = run.all(ev.Membership)
        before = [m for m in lists if m.t_ns <= fault.onset.lo]
        victims = {i for m in before[-1:] for i, host in m.members.items() if host in fault.prepared.targets}
        if not victims:
            return Finding(
                self.name, Status.INCONCLUSIVE, "the list never named the victim before the fault", limit=limits
            )
        gone = next((m for m in lists if m.t_ns > fault.onset.hi and not victims & set(m.members)), None)
        if gone is None:
            waited = (run.end_ns - fault.onset.hi) / SECOND
            status = Status.FAIL if waited > most.value else Status.INCONCLUSIVE
            return Finding(
                self.name, status, f"still listed after {waited:.1f} s", f"> {waited:.1f} s", limits, "from onset"
            )
        lo, hi = max(0, gone.since_ns - fault.onset.hi) / SECOND, (gone.t_ns - fault.onset.lo) / SECOND
        said = f"left the list within [{lo:.2f}, {hi:.2f}] s"
        if lo > most.value or hi < least.value:
            status = Status.FAIL
        else:
            status = Status.PASS if lo >= least.value and hi <= most.value else Status.INCONCLUSIVE
        return Finding(self.name, status, said, f"[{lo:.2f}, {hi:.2f}] s", limits, "from onset", len(lists))
