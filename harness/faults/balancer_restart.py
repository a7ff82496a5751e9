"""Balancer restart: the one way in that everybody takes is gone for a moment, in good order or not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from harness.errors import UsageError
from harness.faults.base import Shows, refuses
from harness.targets import Dismissable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.safety.undo import Step

_WAYS = ("graceful", "killed")


@dataclass(frozen=True)
class BalancerRestart:
    """SIGTERM (`how` is graceful) or SIGKILL (killed) to the balancer, then a start as soon as it is gone.

    One that was asked and is still there when the proof's patience ends is killed before it is started.
    """

    how: str = "graceful"

    needs: ClassVar[type] = Dismissable
    role: ClassVar[str] = "balancer"
    shows: ClassVar[Shows] = refuses()

    def __post_init__(self) -> None:
        """Refuse what nobody knows how to do."""
        if self.how not in _WAYS:
            raise UsageError(f"balancer-restart: how is {self.how!r}; it must be {' or '.join(_WAYS)}")

    async def prepare(self, target: Dismissable) -> Sequence[Step]:
        """The second half is the undo: a start, before which one that was asked and still runs is ended."""
        return [target.undo_start()]

    async def inject(self, target: Dismissable) -> None:
        """Send the signal."""
        if self.how == "graceful":
            await target.ask_to_leave()
        else:
            await target.signal("KILL")

    async def effective(self, target: Dismissable) -> bool:
        """Gone, as its own kernel says."""
        return await target.state() == "gone"

    async def delivered(self, target: Dismissable) -> bool:
        """Asked, as the sender says; one that is killed is not asked."""
        return await target.was_asked()
