"""Balancer restart: the one way in that everybody takes is gone for a moment, in good order or not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from harness.errors import UsageError
from harness.faults.restart import Restart

if TYPE_CHECKING:
    from harness.targets import Dismissable

_WAYS = ("graceful", "killed")


@dataclass(frozen=True)
class BalancerRestart(Restart):
    """SIGTERM (`how` is graceful) or SIGKILL (killed) to the balancer, then a start as soon as it is gone.

    One that was asked and is still there when the proof's patience ends is killed before it is started.
    """

    how: str = "graceful"
    role: ClassVar[str] = "balancer"

    def __post_init__(self) -> None:
        """Refuse what nobody knows how to do."""
        if self.how not in _WAYS:
            raise UsageError(f"balancer-restart: how is {self.how!r}; it must be {' or '.join(_WAYS)}")

    async def inject(self, target: Dismissable) -> None:
        """Send the signal."""
        if self.how == "graceful":
            await target.ask_to_leave()
        else:
            await target.signal("KILL")
