"""SQL through asyncpg, for checks of truth. The only importer of asyncpg in the harness."""

from __future__ import annotations

from typing import Any

import asyncpg

from harness.errors import HarnessError

TIMEOUT_S = 10.0


async def query(dsn: str, sql: str, *args: Any) -> list[tuple[Any, ...]]:
    """Rows of one read-only statement over a connection of its own.

    Raises HarnessError with the server's words; the connection string, which holds a password, is never in them.
    """
    try:
        connection = await asyncpg.connect(dsn, timeout=TIMEOUT_S, command_timeout=TIMEOUT_S)
    except (OSError, TimeoutError, asyncpg.PostgresError) as error:
        raise HarnessError(f"the database does not answer the harness: {type(error).__name__}: {error}") from error
    try:
        async with connection.transaction(readonly=True):
            return [tuple(row) for row in await connection.fetch(sql, *args)]
    except (OSError, TimeoutError, asyncpg.PostgresError) as error:
        raise HarnessError(f"the database refused the harness's query: {type(error).__name__}: {error}") from error
    finally:
        await connection.close(timeout=TIMEOUT_S)
