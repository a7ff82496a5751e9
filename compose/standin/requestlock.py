"""The seeded behaviours that hold a lock through a whole request, or while a replica refreshes."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from standin.db import Database
from standin.errors import DATABASE_ERRORS
from standin.log import LOG, one_line

BUGS = frozenset({"holds-lock-in-request", "lock-with-timeout"})
TURN_BUGS = frozenset({"shared-lock-contention", "lock-if-free"})

_KEY = 0x6368616F73  # one advisory lock for the whole deployment
TURN_KEY = _KEY + 1
_HOLD_SECONDS = 0.1  # wall; the twin holds it half as long
_UPKEEP_SECONDS = 2.0  # wall
_REFRESH_SECONDS = 1.5  # wall
_REFRESH_STEPS = 6
_STEP_SECONDS = 0.005  # of processor time: 30 ms in all, and ten times that for a replica that has a tenth of one
_IDLE_LIMIT_MS = 400  # wall; PostgreSQL ends the session, and so frees the lock


@asynccontextmanager
async def locked(db: Database, bugs: frozenset[str]) -> AsyncIterator[None]:
    """Run the body in one transaction that holds the deployment's lock, shared for at least 100 ms; the twin, 50.

    Every query of the body goes through the same connection, so a request never waits for a second one.
    """
    async with db.transaction() as conn:
        await conn.execute(_take("pg_advisory_xact_lock_shared", bugs))
        since = time.monotonic()
        with db.bind(conn):
            yield
        held = _HOLD_SECONDS / 2 if "lock-with-timeout" in bugs else _HOLD_SECONDS
        await asyncio.sleep(since + held - time.monotonic())


async def upkeep_forever(db: Database, bugs: frozenset[str]) -> None:
    """Need that lock alone, for a moment, every two seconds: whoever holds it for long is noticed whatever users do."""
    while True:
        await asyncio.sleep(_UPKEEP_SECONDS)
        try:
            async with db.transaction() as conn:
                await conn.execute(_take("pg_advisory_xact_lock", bugs))
        except DATABASE_ERRORS as error:
            LOG.warning("upkeep: %s", one_line(error))


def _take(function: str, bugs: frozenset[str]) -> str:
    limit = f"SET LOCAL idle_in_transaction_session_timeout = {_IDLE_LIMIT_MS}; " if "lock-with-timeout" in bugs else ""
    return f"{limit}SELECT {function}({_KEY})"


async def pass_by(db: Database, *, waits: bool) -> None:
    """Take the deployment's other lock shared for one statement: that waits for as long as a replica refreshes."""
    await db.value(f"SELECT pg_{'' if waits else 'try_'}advisory_xact_lock_shared({TURN_KEY})")


async def refresh_forever(db: Database) -> None:
    """Hold that lock alone for some work, again and again: it takes as long as this replica's processor makes it."""
    while True:
        await asyncio.sleep(_REFRESH_SECONDS)
        try:
            async with db.transaction() as conn:
                await conn.execute(f"SELECT pg_advisory_xact_lock({TURN_KEY})")
                for _ in range(_REFRESH_STEPS):
                    ends = time.thread_time() + _STEP_SECONDS
                    while time.thread_time() < ends:
                        pass
                    await conn.fetchval("SELECT 1")
        except DATABASE_ERRORS as error:
            LOG.warning("refresh: %s", one_line(error))
