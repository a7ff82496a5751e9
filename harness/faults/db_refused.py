"""Database refused: the way to it is shut. Connections there were have ended, new ones are refused."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from harness.faults.base import Shows, loses_database
from harness.targets import DatabaseCut

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.safety.undo import Step

_NAME = "chaos-refused"


@dataclass(frozen=True)
class DbRefused:
    """Ends the target's connections to the database and refuses new ones."""

    needs: ClassVar[type] = DatabaseCut
    shows: ClassVar[Shows] = loses_database("loses the database")

    async def prepare(self, target: DatabaseCut) -> Sequence[Step]:
        """The undo opens the way again."""
        return target.undo_cut_database(_NAME)

    async def inject(self, target: DatabaseCut) -> None:
        """Shut it."""
        await target.cut_database(_NAME, "refused")

    async def effective(self, target: DatabaseCut) -> bool:
        """Shut, as what stands in the way says."""
        return await target.database_cut(_NAME) == "refused"
