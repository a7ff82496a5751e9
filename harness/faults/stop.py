"""Stop: the replica that is asked to leave, and leaves in good order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from harness.faults.base import Shows, refuses
from harness.targets import Dismissable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.safety.undo import Step


@dataclass(frozen=True)
class Stop:
    """SIGTERM; undone by starting the target again."""

    needs: ClassVar[type] = Dismissable
    shows: ClassVar[Shows] = refuses()

    async def prepare(self, target: Dismissable) -> Sequence[Step]:
        """The undo is a start, whatever happened in between; one that was asked and still runs is ended first."""
        return [target.undo_start()]

    async def inject(self, target: Dismissable) -> None:
        """Send SIGTERM."""
        await target.ask_to_leave()

    async def effective(self, target: Dismissable) -> bool:
        """Gone, as its own kernel says."""
        return await target.state() == "gone"

    async def delivered(self, target: Dismissable) -> bool:
        """Asked, as the sender says: to go is the target's own part of it."""
        return await target.was_asked()
