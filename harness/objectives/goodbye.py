"""Goodbye: who is asked to leave ends what it has begun, and cuts nobody off."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from harness.verdict import Finding, Status

if TYPE_CHECKING:
    from harness.timeline import RunView


@dataclass(frozen=True)
class Goodbye:
    """Each session of a population that a fault's own targets dropped had a close frame first.

    Sessions are the requests that are always in flight: Coder ends them with 1000 when it leaves (cli/server.go waits for its
    WebSockets), while a process that just ends cuts them, and clients see an end of stream or a reset. For faults that ask.
    """

    name: ClassVar[str] = "goodbye"
    population: str = "watch.eager"

    def judge(self, run: RunView) -> Finding:
        """Look at how each drop of the targets' sessions came about, from each onset to the next one."""
        name, limits, where = f"{self.name} {self.population}", "a close frame for each", "each fault"
        population = run.sessions.population(self.population)
        drops = [
            drop
            for fault, window in zip([f for f in run.faults if f.onset], run.fault_windows, strict=False)
            for drop in population.dropped(window)
            if drop.upstream and run.name_of(drop.upstream) in fault.prepared.targets
        ]
        if not drops:
            return Finding(name, Status.INCONCLUSIVE, "nobody dropped, or no fault window", limit=limits)
        cut = [drop for drop in drops if drop.cause != "close"]
        if cut:
            how = ", ".join(f"{count} {cause}" for cause, count in sorted(Counter(d.cause for d in cut).items()))
            who = f"{cut[0].session}, on {run.name_of(cut[0].upstream)}"
            said = f"{len(cut)} of {len(drops)} were cut without a word ({how}), first {who}"
            return Finding(name, Status.FAIL, said, f"{len(cut)} cut", limits, where, len(drops))
        codes = ", ".join(f"{count} with {code}" for code, count in sorted(Counter(d.code or 0 for d in drops).items()))
        return Finding(name, Status.PASS, f"all {len(drops)} were closed: {codes}", "0 cut", limits, where, len(drops))
