"""Schema migrations: all pending ones in one transaction, one replica at a time (coderd/database/migrations)."""

from importlib import resources
from uuid import uuid4

from standin.db import Conn, Database
from standin.log import LOG
from standin.remigrate import under_lock, without_lock

_LOCK = 0x636F6465724D4752  # one key for every replica; any 64-bit number that nothing else takes
_WAIT_SECONDS = 120.0  # coderd/database/migrations/migrate.go waits 2 min for the lock
_MIGRATIONS = ((1, "schema.sql"),)


class MigrationError(Exception):
    """The schema is of another version, or a migration before this one broke off."""


async def migrate(db: Database, bugs: frozenset[str] = frozenset()) -> None:
    """Bring an empty or older schema to the newest version; others that come at the same time wait their turn."""
    async with db.transaction() as conn:
        await conn.execute("SELECT pg_advisory_xact_lock($1)", _LOCK, timeout=_WAIT_SECONDS)
        await conn.execute(
            "CREATE TABLE IF NOT EXISTS schema_migrations (version bigint NOT NULL, dirty boolean NOT NULL)",
        )
        row = await conn.fetchrow("SELECT version, dirty FROM schema_migrations")
        version = row["version"] if row else 0
        if row and row["dirty"]:
            raise MigrationError(f"dirty database version {version}: a migration broke off, restore a backup")
        if version > _MIGRATIONS[-1][0]:
            raise MigrationError(f"no migration found for version {version}: the database belongs to a newer release")
        pending = [step for step in _MIGRATIONS if step[0] > version]
        for number, name in pending:
            LOG.info("migration_run_started version=%d", number)
            await conn.execute(resources.files("standin").joinpath(name).read_text(encoding="utf-8"))
        if pending:
            await _finish(conn, pending[-1][0], first=version == 0)
        else:
            await under_lock(conn, bugs)
    if not pending:
        await without_lock(db, bugs)
    LOG.info("migration_inventory_up_to_date version=%d applied=%d", _MIGRATIONS[-1][0], len(pending))


async def _finish(conn: Conn, version: int, *, first: bool) -> None:
    """Note the version; on an empty database also make the default organization and the deployment's id."""
    await conn.execute("DELETE FROM schema_migrations")
    await conn.execute("INSERT INTO schema_migrations (version, dirty) VALUES ($1, false)", version)
    if first:
        await conn.execute("INSERT INTO site_configs (key, value) VALUES ('deployment_id', $1)", str(uuid4()))
        await conn.execute(
            "INSERT INTO organizations (id, name, display_name, is_default) VALUES ($1, 'coder', 'Coder', true)",
            uuid4(),
        )
