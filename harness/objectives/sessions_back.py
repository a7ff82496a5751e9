"""Sessions back: every dropped watcher has a *current* snapshot again within a limit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from harness import events as ev
from harness.ledger import Drop, workspace_of
from harness.objectives.base import Bound, limit
from harness.series import SECOND
from harness.verdict import Finding, Status

if TYPE_CHECKING:
    from harness.timeline import RunView


@dataclass(frozen=True)
class SessionsBack:
    """Each session that dropped in the fault window is back within `within` seconds of its drop.

    Back means: a full snapshot arrived whose build is not older than the last write acknowledged before the session
    opened. An open socket without a snapshot is not back. Eager clients measure the server, not their own patience.
    """

    name: ClassVar[str] = "sessions-back"
    population: str
    within: Bound
    min_drops: int = 1

    def judge(self, run: RunView) -> Finding:
        """Judge the slowest session, and that each one's snapshot was current."""
        most, window, name = limit(self.within), run.window, f"{self.name} {self.population}"
        if window is None:
            return Finding(name, Status.INCONCLUSIVE, "no fault window")
        drops = [d for d in run.sessions.drops if window.lo <= d.at < window.hi]
        limits, where = f"<= {most} s", "each from its drop"
        if len(drops) < self.min_drops:
            return Finding(
                name, Status.INCONCLUSIVE, f"{len(drops)} drops, too few to judge", limit=limits, n=len(drops)
            )
        down = [(run.end_ns - d.at, d) for d in drops if d.back is None]
        stale = [d for d in drops if d.back is not None and not _current(run, d)]
        gaps = sorted(((d.back - d.at, d) for d in drops if d.back is not None), key=lambda pair: pair[0])
        worst = gaps[-1][0] / SECOND if gaps else 0.0
        value, n = f"{worst:.2f} s", len(drops)
        if stale:
            said = f"{stale[0].session} came back with an older snapshot than its last acknowledged write ({len(stale)} of {n})"
            return Finding(name, Status.FAIL, said, value, limits, where, n)
        if down:
            longest, drop = max(down, key=lambda pair: pair[0])
            status = Status.FAIL if longest / SECOND > most.value else Status.INCONCLUSIVE
            opened = " (its socket opened, no snapshot came)" if drop.opened else ""
            said = f"{len(down)} of {n} are not back; {drop.session} for > {longest / SECOND:.1f} s{opened}"
            return Finding(name, status, said, f"> {longest / SECOND:.1f} s", limits, where, n)
        status = Status.PASS if worst <= most.value else Status.FAIL
        said = f"{n} of {n} back, slowest {worst:.2f} s ({gaps[-1][1].session})"
        return Finding(name, status, said, value, limits, where, n)


def _current(run: RunView, drop: Drop) -> bool:
    started = run.last(ev.MeterStarted)
    workspace = workspace_of(started.watchers if started else []).get(drop.session)
    opened = drop.opened or drop.back or 0
    acked = [
        w.build_number for w in run.history if w.workspace == workspace and w.result == "ack" and w.ended <= opened
    ]
    return not acked or (drop.build_number or 0) >= max(acked)
