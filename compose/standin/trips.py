"""Counting the round trips of a request, and making as many as Coder's handler would (queries.py).

The stand-in answers with few statements. Without this its requests would feel a slow database far less than Coder's do.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

from standin.queries import PLANS

if TYPE_CHECKING:
    from standin.db import Conn, Database

CURRENT: ContextVar["Trips | None"] = ContextVar("standin_trips", default=None)
"""The tally of whatever runs now; None for chores of the replica itself."""

FILL_SQL = "SELECT value FROM site_configs WHERE key = 'deployment_id'"  # without arguments, so it is one round trip


class Trips:
    """The round trips of one request, or of one message of a stream."""

    __slots__ = ("_plan", "key", "made", "named")

    def __init__(self, key: str) -> None:
        self.key = key
        self.made = 0
        self.named = 0
        self._plan = PLANS[key]

    def follow(self, key: str) -> None:
        """Take the plan of ``key`` instead: the handler found out that it is another case."""
        self._plan = PLANS[key]

    def name(self) -> str:
        """Give the query of Coder that the next statement stands for."""
        names, self.named = self._plan.names, self.named + 1
        return names[self.named - 1] if self.named <= len(names) else "Extra"

    async def fill_within(self, conn: "Conn", since: int) -> None:
        """Make what is missing inside the transaction of ``conn``, but for its commit; it began after ``since`` trips."""
        while self.made - since < self._plan.trips_within - 1:
            await conn.execute(FILL_SQL)

    async def fill(self, db: "Database", *, leave: int = 0) -> None:
        """Make what is missing, but for the ``leave`` round trips that are still to come.

        Each query takes a connection of the pool for itself, as in Coder, and holds it for its round trips.
        """
        missing = self._plan.trips - self.made - leave
        together = list(self._plan.groups) if missing > 0 and not db.bound() else []
        alone = missing - sum(sum(group) for group in together)
        while alone < 0 and together:  # the handler has itself made some of what runs at the same time
            alone += sum(together.pop())
        for _ in range(alone // 2):
            await _query(db, 2)
        if alone > 0 and alone % 2:
            await _query(db, 1)
        for group in together:
            await asyncio.gather(*(_query(db, trips) for trips in group))


async def _query(db: "Database", trips: int) -> None:
    async with db.acquire() as conn:
        for _ in range(trips):
            await conn.execute(FILL_SQL)


async def fill_current(db: "Database") -> None:
    """Fill up the round trips of the request that runs now."""
    trips = CURRENT.get()
    if trips is not None:
        await trips.fill(db)


@asynccontextmanager
async def message_of(key: str, db: "Database") -> AsyncIterator[None]:
    """Count, and at the end fill up, the round trips for one message of a stream."""
    trips = Trips(key)
    token = CURRENT.set(trips)
    try:
        yield
        await trips.fill(db)
    finally:
        CURRENT.reset(token)
