"""Stop: the replica that is asked to leave, and leaves in good order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from harness.faults.base import Shows, refuses
from harness.targets import Killable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.safety.undo import Step


@dataclass(frozen=True)
class Stop:
    """SIGTERM; undone by starting the target again. With a hold of 0 s that is a restart."""

    needs: ClassVar[type] = Killable
    shows: ClassVar[Shows] = refuses()

    async def prepare(self, target: Killable) -> Sequence[Step]:
        """The undo is a start, whatever happened in between."""
        return [target.undo_start()]

    async def inject(self, target: Killable) -> None:
        """Send SIGTERM."""
        await target.signal("TERM")

    async def effective(self, target: Killable) -> bool:
        """Gone, as its own kernel says."""
        return await target.state() == "gone"
