"""Who is hurt: selectors turned into targets by the run's seed, within the limits of the run.

The plan and the run decide with the same code and the same seed, so what was refused on paper is never tried. A run that
would still depart from its plan ends before it injects.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from harness.errors import HarnessError, UsageError
from harness.faults.base import fits, name_of, params_of, takes_down

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from random import Random

    from harness.faults.base import Fault
    from harness.targets import Selector, Target


@dataclass(frozen=True)
class Limits:
    """How much a run may hurt. `max_down` replicas at once (None: all but one), and only the targets of `only`.

    `allow` names the kinds of faults that somebody else's deployment permits; None where it is the run's own.
    """

    max_down: int | None = None
    only: frozenset[str] = frozenset()
    allow: frozenset[str] | None = None


UNLIMITED = Limits()
"""All but one replica, and every target of the run's own stack."""


@dataclass
class Decider:
    """Chooses targets in the order asked, and knows who is down. `steps` are its decisions so far.

    With `planned`, the fault steps of a plan in their order, it decides the same or raises HarnessError.
    """

    targets: Sequence[Target]
    random: Random
    limits: Limits = UNLIMITED
    planned: Sequence[Mapping[str, Any]] | None = None
    outage: bool = False
    """Whether the scenario says that it may leave no healthy replica."""
    count: int = 0
    steps: list[dict[str, Any]] = field(default_factory=list)
    _down: dict[str, list[str]] = field(default_factory=dict)
    _chosen: dict[str, list[str]] = field(default_factory=dict)

    def choose(self, fault: Fault, at: Selector) -> tuple[str, list[Target]]:
        """Choose targets and return the fault's key; raise UsageError for what the run's limits forbid.

        HarnessError when the plan says something else.
        """
        down = self.down
        before = self._chosen.setdefault(at.text, [])
        chosen = at.pick([t for t in self.targets if t.name not in down], self.random, before)
        before += [t.name for t in chosen]
        for target in chosen:
            self._check(fault, at, target)
        self.count += 1
        key = f"f{self.count}"
        self._as_planned(key, [name_of(fault), params_of(fault), [t.name for t in chosen]])
        if takes_down(fault):
            self._room(fault, at, down | {t.name for t in chosen})
            self._down[key] = [t.name for t in chosen]
        self.steps.append({"fault": key, "name": name_of(fault), "at": at.text, "targets": [t.name for t in chosen]})
        return key, chosen

    def _as_planned(self, key: str, would: list[Any]) -> None:
        if self.planned is None:
            return
        said: list[Any] = []
        if self.count <= len(self.planned):
            step = self.planned[self.count - 1]
            said = [step["name"], step["params"], step["targets"]]
        if would != said:
            raise HarnessError(
                f"{key} would be {would}, the plan said {said or 'no more faults'}: a scenario must decide twice the same,"
                " from its seed and the number of replicas alone; this fault was not injected"
            )

    @property
    def down(self) -> set[str]:
        """Names of those that serve nobody now."""
        return {name for names in self._down.values() for name in names}

    def undone(self, key: str) -> None:
        """Hear that the targets of a fault serve again."""
        self._down.pop(key, None)

    def controls(self, chosen: Sequence[Target]) -> list[str]:
        """Targets that must stay good meanwhile: peers of the chosen ones, or the replicas where there is no peer."""
        names = {t.name for t in chosen} | self.down
        for role in (chosen[0].role, "coder"):
            if peers := [t.name for t in self.targets if t.role == role and t.name not in names]:
                return peers
        return []

    def fronts(self, chosen: Sequence[Target]) -> list[str]:
        """Balancers that must say that nobody is there, where no peer is left to be the control of an outage."""
        roles = {t.name: t.role for t in self.targets}
        coders = {name for name, role in roles.items() if role == "coder"}
        if self.controls(chosen) or not coders <= self.down:
            return []
        return [name for name, role in roles.items() if role == "balancer" and name not in self.down]

    def _check(self, fault: Fault, at: Selector, target: Target) -> None:
        if not fits(fault, target):
            able = isinstance(target, fault.needs)
            lacks = f"its role is {target.role}" if able else f"it is not {fault.needs.__name__} on this stack"
            raise UsageError(f"{name_of(fault)} cannot hurt {target.name}: {lacks}")
        if self.limits.allow is not None and name_of(fault) not in self.limits.allow:
            raise UsageError(f"{name_of(fault)} is not allowed on a project that is not ours: --allow {name_of(fault)}")
        if self.limits.only and target.name not in self.limits.only:
            listed = ", ".join(sorted(self.limits.only))
            raise UsageError(f"{name_of(fault)} at {at.text} would hurt {target.name}, the run may hurt only {listed}")

    def _room(self, fault: Fault, at: Selector, down: set[str]) -> None:
        replicas = [t.name for t in self.targets if t.role == "coder"]
        count = len(down & set(replicas))
        if count >= len(replicas) and at.role == "coder" and not self.outage:
            raise UsageError(f"{name_of(fault)} at {at.text} would leave no healthy replica; refused")
        if self.limits.max_down is not None and count > self.limits.max_down:
            raise UsageError(
                f"{name_of(fault)} at {at.text} would take {count} of {len(replicas)} replicas down at once,"
                f" the run may take {self.limits.max_down}; refused"
            )
