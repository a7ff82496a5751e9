"""Kill: the replica that is gone at once, without a word to anybody."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from harness.faults.base import Shows, refuses
from harness.targets import Killable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.safety.undo import Step


@dataclass(frozen=True)
class Kill:
    """SIGKILL; undone by starting the target again."""

    needs: ClassVar[type] = Killable
    shows: ClassVar[Shows] = refuses()

    async def prepare(self, target: Killable) -> Sequence[Step]:
        """The undo is a start, whatever happened in between."""
        return [target.undo_start()]

    async def inject(self, target: Killable) -> None:
        """Send SIGKILL."""
        await target.signal("KILL")

    async def effective(self, target: Killable) -> bool:
        """Gone, as its own kernel says."""
        return await target.state() == "gone"
