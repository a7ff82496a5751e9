"""Freeze: the replica that is up, connected, and answers nobody."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from harness.faults.base import Shows, hangs
from harness.targets import Freezable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.safety.undo import Step


@dataclass(frozen=True)
class Freeze:
    """SIGSTOP: the kernel still accepts connections, the process does nothing. Undone by SIGCONT."""

    needs: ClassVar[type] = Freezable
    shows: ClassVar[Shows] = hangs()

    async def prepare(self, target: Freezable) -> Sequence[Step]:
        """The undo continues this very process, never a later one with its pid."""
        return [target.undo_signal("CONT")]

    async def inject(self, target: Freezable) -> None:
        """Send SIGSTOP."""
        await target.signal("STOP")

    async def effective(self, target: Freezable) -> bool:
        """Stopped, as its own kernel says."""
        return await target.state() == "frozen"
