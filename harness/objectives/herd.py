"""Herd: clients that come back must not come back all at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from harness.objectives.base import Bound, limit
from harness.series import SECOND
from harness.verdict import Finding, Status

if TYPE_CHECKING:
    from harness.timeline import RunView


@dataclass(frozen=True)
class Herd:
    """Most dials of a population in any second from the onset to the end of recovery, refused ones too.

    With `per_session` the limit is dials per second for each session of the population, whatever its size. With `answered`
    only dials count that were answered, by an upgrade or a status: a balancer that is gone has no work with those it misses.
    """

    name: ClassVar[str] = "herd"
    at_most: Bound
    population: str = "watch.eager"
    per_session: bool = False
    answered: bool = False

    def judge(self, run: RunView) -> Finding:
        """Compare the busiest sliding second with the limit."""
        most, window, name = limit(self.at_most), run.window, f"{self.name} {self.population}"
        what = "answered dials" if self.answered else "dials"
        limits, where = f"<= {most.value:g} {what}/s{' per session' * self.per_session}", "onset to end of recovery"
        if window is None:
            return Finding(name, Status.INCONCLUSIVE, "no fault window", limit=limits)
        population = run.sessions.population(self.population)
        peak = population.peak_dials(window, answered=self.answered)
        if not peak.dials:
            said = "no dial was answered" if self.answered else "nobody dialled"
            return Finding(name, Status.INCONCLUSIVE, said, limit=limits)
        allowed = most.value * (len(population.names) if self.per_session else 1)
        status = Status.PASS if peak.dials <= allowed else Status.FAIL
        after = (peak.at - window.lo) / SECOND
        said = f"{peak.dials} of {len(population.names)} sessions' {what} in the second that began {after:.2f} s after the onset"
        return Finding(name, status, said, f"{peak.dials} {what}/s", limits, where, peak.dials)
