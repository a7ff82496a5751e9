"""Drop share: who leaves takes its own sessions along, and nobody else's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from harness.verdict import Finding, Status

if TYPE_CHECKING:
    from harness.timeline import RunView


@dataclass(frozen=True)
class DropShare:
    """Share of a population that each fault dropped, beside the share of the replicas that it took.

    How large the share is depends on the balancer and is measured. Gated: whoever dropped was on a replica that some
    fault had taken by then. Each fault is looked at from its onset to the next one's, or to the end of recovery.
    """

    name: ClassVar[str] = "drop-share"
    population: str = "watch.eager"

    def judge(self, run: RunView) -> Finding:
        """Count each fault's drops, and those of sessions that no fault can have touched."""
        name, limits, where = f"{self.name} {self.population}", "only sessions of those that left", "each fault"
        population = run.sessions.population(self.population)
        faults = [fault for fault in run.faults if fault.onset]
        if not run.fault_windows or not population.names:
            return Finding(name, Status.INCONCLUSIVE, "no fault window, or no such session", limit=limits)
        taken: set[str] = set()
        shares, strangers, unknown, count = [], [], 0, 0
        for fault, window in zip(faults, run.fault_windows, strict=True):
            back = [f for f in faults if f.undone and f.undone.after_ns < window.lo]
            taken -= {target for f in back for target in f.prepared.targets}
            left = len(run.targets("coder")) - len(taken)
            taken |= set(fault.prepared.targets)
            drops = population.dropped(window)
            count += len(drops)
            unknown += sum(not drop.upstream for drop in drops)
            strangers += [drop for drop in drops if drop.upstream and run.name_of(drop.upstream) not in taken]
            who = len({drop.session for drop in drops})
            shares.append(
                f"{who} of {len(population.names)} with {', '.join(fault.prepared.targets)}"
                f" ({len(fault.prepared.targets)} of {left} replicas)"
            )
        said = "; ".join(shares)
        if strangers:
            drop = strangers[0]
            said = f"{drop.session} dropped, on {run.name_of(drop.upstream)}, which stayed ({len(strangers)} such drops); {said}"
            return Finding(name, Status.FAIL, said, f"{len(strangers)} strangers", limits, where, count)
        if not count or unknown:
            said = f"{unknown} drops of sessions whose replica is not known" if unknown else "nobody dropped"
            return Finding(name, Status.INCONCLUSIVE, said, limit=limits, n=count)
        return Finding(name, Status.PASS, said, "0 strangers", limits, where, count)
