"""The seeded behaviours that hold a lock through a whole request."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from standin.db import Database

BUGS = frozenset({"holds-lock-in-request", "lock-with-timeout"})

_KEY = 0x6368616F73  # one advisory lock for the whole deployment
_HOLD_SECONDS = 0.1  # wall
_IDLE_LIMIT_MS = 400  # wall; PostgreSQL ends the session, and so frees the lock


@asynccontextmanager
async def locked(db: Database, *, exclusive: bool, limited: bool) -> AsyncIterator[None]:
    """Run the body in one transaction that holds the deployment's lock, shared for at least 100 ms.

    Every query of the body goes through the same connection, so a request never waits for a second one.
    """
    limit = f"SET LOCAL idle_in_transaction_session_timeout = {_IDLE_LIMIT_MS}; " if limited else ""
    function = "pg_advisory_xact_lock" if exclusive else "pg_advisory_xact_lock_shared"
    async with db.transaction() as conn:
        await conn.execute(f"{limit}SELECT {function}({_KEY})")
        since = time.monotonic()
        with db.bind(conn):
            yield
        if not exclusive:  # builds take turns as it is; holding longer would only choke a calm system
            await asyncio.sleep(since + _HOLD_SECONDS - time.monotonic())
