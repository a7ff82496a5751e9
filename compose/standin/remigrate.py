"""Seeded bugs of a start on a database that is in use: it works on a schema that needs none."""

import asyncio

from standin.db import Conn, Database
from standin.log import LOG

BUGS = frozenset({"concurrent-migration", "dirty-flag", "slow-migration"})
_WORK_SECONDS = 5.0  # longer than the starts of replicas that are started together lie apart
_LEGAL_SECONDS = 1.0
_USED_SECONDS = 3.0  # replicas that start together on an empty database are not yet this old when the last one migrates
_IN_USE = "SELECT EXISTS (SELECT FROM replicas WHERE started_at < now() - make_interval(secs => $1))"


async def under_lock(conn: Conn, bugs: frozenset[str]) -> None:
    """Do what is done inside the transaction that holds the migration lock."""
    if not bugs & {"dirty-flag", "slow-migration"} or not await conn.fetchval(_IN_USE, _USED_SECONDS):
        return
    LOG.info("migration_run_started again")
    await conn.execute("UPDATE schema_migrations SET dirty = true")
    if "slow-migration" in bugs:  # nobody sees the mark: it is gone before the commit
        await asyncio.sleep(_LEGAL_SECONDS)
        await conn.execute("UPDATE schema_migrations SET dirty = false")


async def without_lock(db: Database, bugs: frozenset[str]) -> None:
    """Do what should have been done under the lock."""
    if "dirty-flag" in bugs and await db.value("SELECT bool_or(dirty) FROM schema_migrations"):
        await asyncio.sleep(_WORK_SECONDS)
        await db.value("UPDATE schema_migrations SET dirty = false")
    if "concurrent-migration" in bugs and await db.value(_IN_USE, _USED_SECONDS):
        # It replaces the row that it read, not the one that is there by then.
        row = await db.row("SELECT ctid, version FROM schema_migrations ORDER BY ctid LIMIT 1")
        if row is not None:
            await asyncio.sleep(_WORK_SECONDS)
            async with db.transaction() as conn:
                await conn.execute("DELETE FROM schema_migrations WHERE ctid = $1", row["ctid"])
                await conn.execute("INSERT INTO schema_migrations VALUES ($1, false)", row["version"])
