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
        """Step that starts the target again, and does nothing when it runs."""


@runtime_checkable
class Freezable(Signalable, Protocol):
    """A target that can be stopped and continued."""

    def undo_signal(self, name: str) -> Step:
        """Step that sends a signal to this very process, never to a later one with the same pid."""


@dataclass(frozen=True)
class Selector:
    """Chooses targets of one role. `text` is how the plan names the choice."""

    role: str
    text: str
    choose: Callable[[Sequence[Target], Random], Sequence[Target]]

    def pick(self, targets: Sequence[Target], random: Random) -> list[Target]:
        """Return the chosen targets, in the order they are hurt; raise UsageError when the role is empty."""
        candidates = [target for target in targets if target.role == self.role]
        if not candidates:
            roles = ", ".join(sorted({target.role for target in targets}))
            raise UsageError(f"no target has the role {self.role!r}; this stack has: {roles}")
        return list(self.choose(candidates, random))


def one(role: str) -> Selector:
    """One target of `role`, drawn from the run's seed."""
    return Selector(role, f"one {role}", lambda targets, random: [random.choice(targets)])


def each(role: str) -> Selector:
    """Every target of `role`, at once."""
    return Selector(role, f"each {role}", lambda targets, _: targets)
