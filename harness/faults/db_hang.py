"""Database hang: connections stay as they are, and nothing comes through any more."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from harness.faults.base import Shows, loses_database
from harness.targets import DatabaseCut

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.safety.undo import Step

_NAME = "chaos-hang"


@dataclass(frozen=True)
class DbHang:
    """Lets nothing through between the target and the database, without a word. Healing it cuts what had hung."""

    needs: ClassVar[type] = DatabaseCut
    shows: ClassVar[Shows] = loses_database("hangs for want of the database")

    async def prepare(self, target: DatabaseCut) -> Sequence[Step]:
        """The undo lets it through again."""
        return target.undo_cut_database(_NAME)

    async def inject(self, target: DatabaseCut) -> None:
        """Hold everything back."""
        await target.cut_database(_NAME, "hangs")

    async def effective(self, target: DatabaseCut) -> bool:
        """Held back, as what stands in the way says."""
        return await target.database_cut(_NAME) == "hangs"
