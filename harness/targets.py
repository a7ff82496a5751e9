"""Targets: what a fault can hurt, as small capabilities; and selectors that choose among them.

A capability is a Protocol with one or two methods. A backend's target has a capability when it has the methods, so
`isinstance(target, Freezable)` asks whether a fault can be offered at all.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

from harness.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from random import Random

    from harness.safety.undo import Step

State = Literal["running", "frozen", "gone"]


@runtime_checkable
class Target(Protocol):
    """Anything of a stack with a name and a role ("coder", "database", "proxy", "balancer")."""

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def role(self) -> str: ...  # noqa: D102


@runtime_checkable
class Signalable(Target, Protocol):
    """A target that takes POSIX signals, by name without SIG ("KILL", "STOP", "TERM")."""

    async def signal(self, name: str) -> None:
        """Send the signal; a target that is gone already is no error."""

    async def state(self) -> State:
        """Ask the target's own kernel, not the path to it."""


@runtime_checkable
class Killable(Signalable, Protocol):
    """A target that can be started again as it was."""

    def undo_start(self) -> Step:
        """Step that starts the target again, and does nothing when it runs and nobody asked it to leave."""


@runtime_checkable
class Dismissable(Killable, Protocol):
    """A target that can be asked to leave, by one who remembers that it was; starting it again ends the one asked."""

    async def ask_to_leave(self) -> None:
        """Send SIGTERM to the process now behind the name; a target that is gone already is no error."""

    async def was_asked(self) -> bool:
        """Whether the process now behind the name was sent it, as the sender remembers, whatever it made of it."""


@runtime_checkable
class Freezable(Signalable, Protocol):
    """A target that can be stopped and continued."""

    def undo_signal(self, name: str) -> Step:
        """Step that sends a signal to this very process, never to a later one with the same pid."""


@runtime_checkable
class DatabaseLink(Target, Protocol):
    """A target whose own link to the database can be made slower, without touching anybody else's."""

    async def slow_database(self, name: str, rtt_ms: int) -> None:
        """Add `rtt_ms` milliseconds to every round trip on the link, under `name`; what is on already stays."""

    async def database_delay_ms(self, name: str) -> int:
        """Round-trip milliseconds that are added under `name` now, as the link itself says; 0 for none."""

    def undo_slow_database(self, name: str) -> list[Step]:
        """Steps that remove what `slow_database` added under `name`, and do nothing when it is gone."""


@runtime_checkable
class CpuLimited(Target, Protocol):
    """A target whose processor time can be cut down, without touching anybody else's."""

    async def throttle_cpu(self, percent: int) -> None:
        """Let it run `percent` of one processor."""

    async def cpu_percent(self) -> float:
        """Percent of one processor it is held to now, as what holds it says; 100 while nothing has held it back."""

    def undo_throttle_cpu(self) -> list[Step]:
        """Steps that take away what `throttle_cpu` did, and do nothing when it is gone."""


@dataclass(frozen=True)
class Selector:
    """Chooses targets of one role. `text` is how the plan names the choice.

    `choose` is given the candidates, the run's random source, and the names it chose before in this run.
    """

    role: str
    text: str
    choose: Callable[[Sequence[Target], Random, Sequence[str]], Sequence[Target]]

    def pick(self, targets: Sequence[Target], random: Random, before: Sequence[str] = ()) -> list[Target]:
        """Return the chosen targets, in the order they are hurt; raise UsageError when there is nobody to choose."""
        candidates = [target for target in targets if target.role == self.role]
        if not candidates:
            roles = ", ".join(sorted({target.role for target in targets}))
            raise UsageError(f"no target has the role {self.role!r}; this stack has: {roles}")
        chosen = list(self.choose(candidates, random, before))
        if not chosen:
            raise UsageError(f"{self.text} chooses nobody among {', '.join(target.name for target in candidates)}")
        return chosen


def one(role: str) -> Selector:
    """One target of `role`, drawn from the run's seed."""
    return Selector(role, f"one {role}", lambda targets, random, _: [random.choice(targets)])


def each(role: str) -> Selector:
    """Every target of `role`, at once."""
    return Selector(role, f"each {role}", lambda targets, *_: targets)


def all_but_one(role: str) -> Selector:
    """Every target of `role` but one, which is drawn from the run's seed."""
    return Selector(role, f"all but one {role}", lambda targets, random, _: random.sample(targets, len(targets) - 1))


def rolling(role: str) -> Selector:
    """One target of `role` after the other: each use takes one that this run has not taken yet, in a drawn order."""

    def choose(targets: Sequence[Target], random: Random, before: Sequence[str]) -> Sequence[Target]:
        fresh = [target for target in targets if target.name not in before]
        return [random.choice(fresh)] if fresh else []

    return Selector(role, f"rolling {role}", choose)
