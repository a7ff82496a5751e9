"""Builds end: whatever happens to replicas, a build that was accepted comes to its end, a good one if that is asked for."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from harness.verdict import Finding, Status

if TYPE_CHECKING:
    from harness.timeline import RunView


@dataclass(frozen=True)
class BuildsEnd:
    """Every acknowledged build that its writer waited for ended, well or not, before the writer gave it up.

    A replica that is asked to leave ends its builds first (cli/server.go, #14433, #16181); one that leaves them behind leaves
    them to the job reaper, minutes later (coderd/jobreaper). The limit is the writers' patience, `harness.history.STUCK_S`.
    Not for faults that kill: there the reaper is what is promised. With `well` a build that ends while a fault is in the run,
    from its onset until the service has recovered, must also succeed: a drain that is longer than a build interrupts none.
    """

    name: ClassVar[str] = "builds-end"
    well: bool = False
    min_builds: int = 10

    def judge(self, run: RunView) -> Finding:
        """Count the builds that were given up."""
        limits, where = f"every one{' well' if self.well else ''}, before its writer gave up", "whole run"
        endings = run.endings
        orphans = [end for end in endings if end.stuck]
        n = len(endings)
        if run.window is None:
            return Finding(self.name, Status.INCONCLUSIVE, "no fault window", limit=limits)
        if orphans:
            first = orphans[0]
            who = f"build {first.build_number} of workspace {first.workspace[:8]}, by {first.writer}, last seen {first.status}"
            said = f"{len(orphans)} of {n} did not end, first {who}"
            return Finding(self.name, Status.FAIL, said, f"{len(orphans)} orphans", limits, where, n)
        bad = [
            e
            for e in endings
            if self.well and e.status != "succeeded" and any(w.lo <= e.at <= w.hi for w in run.fault_windows)
        ]
        if bad:
            first = bad[0]
            who = f"build {first.build_number} of workspace {first.workspace[:8]}, by {first.writer}, {first.status}"
            said = f"{len(bad)} of {n} did not end well, first {who}"
            return Finding(self.name, Status.FAIL, said, f"{len(bad)} not well", limits, where, n)
        how = ", ".join(f"{count} {status}" for status, count in sorted(Counter(e.status for e in endings).items()))
        status = Status.PASS if n >= self.min_builds else Status.INCONCLUSIVE
        return Finding(self.name, status, f"{n} ended: {how}" if n else "no build ended", "0 orphans", limits, where, n)
