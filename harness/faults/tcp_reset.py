"""TCP reset: connections to the database are reset as soon as something is said on them, old and new ones alike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from harness.faults.base import Shows, loses_database
from harness.targets import DatabaseCut

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.safety.undo import Step

_NAME = "chaos-reset"


@dataclass(frozen=True)
class TcpReset:
    """Resets the target's connections to the database, each at the first byte; an idle one does not notice before that."""

    needs: ClassVar[type] = DatabaseCut
    shows: ClassVar[Shows] = loses_database("has its database connections reset")

    async def prepare(self, target: DatabaseCut) -> Sequence[Step]:
        """The undo stops it."""
        return target.undo_cut_database(_NAME)

    async def inject(self, target: DatabaseCut) -> None:
        """Begin."""
        await target.cut_database(_NAME, "resets")

    async def effective(self, target: DatabaseCut) -> bool:
        """On, as what stands in the way says."""
        return await target.database_cut(_NAME) == "resets"
