"""Database latency: every round trip to the database takes longer, nothing is lost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from harness.errors import UsageError
from harness.faults.base import Shows, delays
from harness.targets import DatabaseLink

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.safety.undo import Step

_NAME = "chaos-latency"


@dataclass(frozen=True)
class DbLatency:
    """Adds `rtt_ms` milliseconds to each round trip on the target's own link, half of it each way."""

    rtt_ms: int = 25

    needs: ClassVar[type] = DatabaseLink
    takes_down: ClassVar[bool] = False

    def __post_init__(self) -> None:
        """Refuse a dose that cannot be told from noise."""
        if self.rtt_ms < 1:
            raise UsageError(f"db-latency: rtt_ms is {self.rtt_ms}; less than 1 ms cannot be proven on the path")

    @property
    def shows(self) -> Shows:
        """Answers that need the database take at least one round trip, so at least the dose."""
        return delays(self.rtt_ms)

    async def prepare(self, target: DatabaseLink) -> Sequence[Step]:
        """The undo removes what we add, by names chosen before."""
        return target.undo_slow_database(_NAME)

    async def inject(self, target: DatabaseLink) -> None:
        """Add it, both ways."""
        await target.slow_database(_NAME, self.rtt_ms)

    async def effective(self, target: DatabaseLink) -> bool:
        """On, with this dose, as the proxy itself says."""
        return await target.database_delay_ms(_NAME) == self.rtt_ms
