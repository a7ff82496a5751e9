"""Restart: the replica that is asked to leave, has left, and is started again, as a rollout does to each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from harness.faults.base import Shows, refuses
from harness.targets import Dismissable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.safety.undo import Step


@dataclass(frozen=True)
class Restart:
    """SIGTERM, then a start as soon as the process is gone and users could see it.

    The wait is part of the proof, and as long as that at most. One that is still there then is killed before it is started,
    as an orchestrator does when its grace period is over, and gets no credit for what it keeps.
    """

    needs: ClassVar[type] = Dismissable
    shows: ClassVar[Shows] = refuses()

    async def prepare(self, target: Dismissable) -> Sequence[Step]:
        """The second half is the undo: a start, before which one that was asked and still runs is ended."""
        return [target.undo_start()]

    async def inject(self, target: Dismissable) -> None:
        """Send SIGTERM. It is not waited for here: the moment of the deed would be as wide as the wait."""
        await target.ask_to_leave()

    async def effective(self, target: Dismissable) -> bool:
        """Gone, as its own kernel says."""
        return await target.state() == "gone"

    async def delivered(self, target: Dismissable) -> bool:
        """Asked, as the sender says: to go is the target's own part of it."""
        return await target.was_asked()
