"""Counting the round trips of a request, and making as many as Coder's handler would (queries.py).

The stand-in answers with few statements. Without this its requests would feel a slow database far less than Coder's do.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from standin.queries import PLANS

if TYPE_CHECKING:
    from standin.db import Conn, Database

CURRENT: ContextVar["Trips | None"] = ContextVar("standin_trips", default=None)
"""The tally of whatever runs now; None for chores of the replica itself."""

_FILL_SQL = "SELECT value FROM site_configs WHERE key = 'deployment_id'"  # without arguments, so it is one round trip


@dataclass(frozen=True, slots=True)
class _Sum:
    """A plan, added up."""

    trips: int
    within: int
    groups: tuple[tuple[int, ...], ...]
    names: tuple[str, ...]


@cache
def _sum(key: str, each: int) -> _Sum:
    plan = PLANS[key]
    groups = tuple(map(tuple, plan.groups(each)))
    return _Sum(plan.trips(each), plan.trips_within(each), groups, tuple(plan.names()))


class Trips:
    """The round trips of one request, or of one message of a stream; a query with arguments is ``each`` of them."""

    __slots__ = ("_each", "_sum", "beside", "key", "made", "named")

    def __init__(self, key: str, each: int = 1) -> None:
        self.key = key
        self.made = 0
        self.beside = 0
        """Those that are not in Coder's plan: of seeded bugs."""
        self.named = 0
        self._each = each
        self._sum = _sum(key, each)

    def follow(self, key: str) -> None:
        """Take the plan of ``key`` instead: the handler found out that it is another case."""
        self._sum = _sum(key, self._each)

    def name(self) -> str:
        """Give the query of Coder that the next statement stands for."""
        names, self.named = self._sum.names, self.named + 1
        return names[self.named - 1] if self.named <= len(names) else "Extra"

    async def fill_within(self, conn: "Conn", since: int) -> None:
        """Make what is missing inside the transaction of ``conn``, but for its commit; it began after ``since`` trips."""
        while self.made - since < self._sum.within - 1:
            await conn.fetchval(_FILL_SQL)

    async def fill(self, db: "Database", *, leave: int = 0) -> None:
        """Make what is missing, but for the ``leave`` round trips that are still to come.

        As in Coder a connection is given back after each query, though only if somebody waits for one.
        """
        missing = self._sum.trips - (self.made - self.beside) - leave
        together = list(self._sum.groups) if missing > 0 and not db.bound() else []
        alone = missing - sum(map(sum, together))
        while alone < 0 and together:  # the handler has itself made some of what runs at the same time
            alone += sum(together.pop())
        while alone > 0:
            alone = await self._queries(db, alone)
        for group in together:
            await asyncio.gather(*(_query(db, trips) for trips in group))

    async def _queries(self, db: "Database", count: int) -> int:
        """Make some of ``count`` round trips on one connection; gives how many are left."""
        async with db.acquire() as conn:
            while count > 0:
                for _ in range(min(self._each, count)):
                    await conn.fetchval(_FILL_SQL)
                    count -= 1
                if db.wanted():
                    break
        return count


async def _query(db: "Database", trips: int) -> None:
    async with db.acquire() as conn:
        for _ in range(trips):
            await conn.fetchval(_FILL_SQL)


async def fill_current(db: "Database") -> None:
    """Fill up the round trips of the request that runs now."""
    trips = CURRENT.get()
    if trips is not None:
        await trips.fill(db)


@asynccontextmanager
async def message_of(key: str, db: "Database") -> AsyncIterator[None]:
    """Count, and at the end fill up, the round trips for one message of a stream."""
    trips = Trips(key, db.trips_per_query)
    token = CURRENT.set(trips)
    try:
        yield
        await trips.fill(db)
    finally:
        CURRENT.reset(token)
