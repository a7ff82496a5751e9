"""Sessions back: every dropped session has a good message again (for a watcher: a *current* snapshot) within a limit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from harness import events as ev
from harness.objectives.base import Bound, limit
from harness.populations import workspace_of
from harness.series import SECOND
from harness.verdict import Finding, Status

if TYPE_CHECKING:
    from collections.abc import Iterable

    from harness.populations import Drop
    from harness.timeline import RunView


@dataclass(frozen=True)
class SessionsBack:
    """Each session of a population that dropped in the fault window is back within `within` seconds of its drop.

    `population` is `kind.policy`. A watcher is back when a full snapshot arrived whose build is not older than the last
    write acknowledged before the session opened; an open socket without it is not back. Eager clients measure the
    server, not their own patience.
    """

    name: ClassVar[str] = "sessions-back"
    population: str
    within: Bound
    min_drops: int = 1

    def judge(self, run: RunView) -> Finding:
        """Judge the slowest session, and that each watcher's snapshot was current."""
        most, window, name = limit(self.within), run.window, f"{self.name} {self.population}"
        if window is None:
            return Finding(name, Status.INCONCLUSIVE, "no fault window")
        population = run.sessions.population(self.population)
        drops = population.dropped(window)
        limits, where = f"<= {most} s", "each from its drop"
        if len(drops) < self.min_drops:
            return Finding(
                name, Status.INCONCLUSIVE, f"{len(drops)} drops, too few to judge", limit=limits, n=len(drops)
            )
        down = [(population.end - d.at, d) for d in drops if d.back is None]
        stale = _stale(run, drops) if population.kind == "watch" else []
        gaps = sorted(((d.back - d.at, d) for d in drops if d.back is not None), key=lambda pair: pair[0])
        worst = gaps[-1][0] / SECOND if gaps else 0.0
        value, n = f"{worst:.2f} s", len(drops)
        if stale:
            said = f"{stale[0].session} came back with an older snapshot than its last acknowledged write ({len(stale)} of {n})"
            return Finding(name, Status.FAIL, said, value, limits, where, n)
        if down:
            longest, drop = max(down, key=lambda pair: pair[0])
            status = Status.FAIL if longest / SECOND > most.value else Status.INCONCLUSIVE
            said = f"{len(down)} of {n} are not back; {drop.session} for > {longest / SECOND:.1f} s{_because(drop)}"
            return Finding(name, status, said, f"> {longest / SECOND:.1f} s", limits, where, n)
        status = Status.PASS if worst <= most.value else Status.FAIL
        said = f"{n} of {n} back, slowest {worst:.2f} s ({gaps[-1][1].session})"
        return Finding(name, status, said, value, limits, where, n)


def _because(drop: Drop) -> str:
    if drop.gave_up:
        return f" (its client gave up: {drop.gave_up})"
    return " (its socket opened, no good message came)" if drop.opened else ""


def _stale(run: RunView, drops: Iterable[Drop]) -> list[Drop]:
    """Watchers that came back with an older build than one acknowledged before they opened."""
    started = run.last(ev.MeterStarted)
    workspaces = workspace_of(started.watchers if started else [])
    acked: dict[str, list[tuple[int, int]]] = {}
    for write in run.history:
        if write.result == "ack":
            acked.setdefault(write.workspace, []).append((write.ended, write.build_number))
    return [d for d in drops if d.back is not None and not _current(d, acked.get(workspaces.get(d.session, ""), []))]


def _current(drop: Drop, acked: list[tuple[int, int]]) -> bool:
    opened = drop.opened or drop.back or 0
    return (drop.build_number or 0) >= max((number for ended, number in acked if ended <= opened), default=0)
