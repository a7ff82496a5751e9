"""The seeded behaviours that look at the database now and then, and do not bring the connection back in time."""

import asyncio
import time
from contextlib import AsyncExitStack, suppress

from standin.db import Database
from standin.errors import DATABASE_ERRORS
from standin.log import LOG, one_line

BUGS = frozenset({"pool-leak-under-latency", "pool-returns-late"})

# Wall seconds, as they wait for a network.
_LOOK_SECONDS = 0.25
_SLOW_SECONDS = 0.02
_LATE_SECONDS = 0.5


async def look_forever(db: Database, pool_max: int, *, returns: bool) -> None:
    """Ping the database; what carried a slow ping is kept for ever, but for the pool's last, or is brought back late.

    One connection is left so that the replica still serves, slowly, and a run can tell what became of it. Whatever is out
    comes back when the replica leaves.
    """
    out = 0
    async with AsyncExitStack() as lost, asyncio.TaskGroup() as late:
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            try:
                async with AsyncExitStack() as lent:
                    conn = await lent.enter_async_context(db.acquire())
                    started = time.perf_counter()
                    await conn.fetchval("SELECT 1")
                    if time.perf_counter() - started < _SLOW_SECONDS:
                        continue
                    if returns:
                        late.create_task(_bring_back(lent.pop_all()), name="late-return")
                    elif out < pool_max - 1:
                        out += 1
                        lost.push_async_callback(lent.pop_all().aclose)
                        LOG.warning("a connection is not given back: %d of %d", out, pool_max)
            except DATABASE_ERRORS as error:
                LOG.warning("look at the database: %s", one_line(error))


async def _bring_back(lent: AsyncExitStack) -> None:
    with suppress(*DATABASE_ERRORS):
        async with lent:
            await asyncio.sleep(_LATE_SECONDS)
