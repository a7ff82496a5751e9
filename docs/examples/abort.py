"""Abort: the replica that crashes by its own hand."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from harness.faults.base import Shows, refuses
from harness.safety.undo import Step
from harness.targets import Killable


@dataclass(frozen=True)
class Abort:
    """SIGABRT; undone by starting the replica again."""

    needs: ClassVar[type] = Killable
    shows: ClassVar[Shows] = refuses()

    async def prepare(self, target: Killable) -> Sequence[Step]:
        return [target.undo_start()]

    async def inject(self, target: Killable) -> None:
        await target.signal("ABRT")

    async def effective(self, target: Killable) -> bool:
        return await target.state() == "gone"
