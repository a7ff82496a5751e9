"""The database pool: bounded waits, and no connection is reused after an error that may have broken it."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from contextvars import ContextVar
from typing import Any

import asyncpg

from standin.errors import ApiError, DatabaseAwayError
from standin.log import LOG, one_line
from standin.trips import CURRENT, Trips

Conn = Any
"""An asyncpg connection; the library ships no types."""

Row = Any
"""An asyncpg record: a read-only mapping from column names."""

# Wall seconds, since they wait for a network and another program. No answer may take a minute.
CONNECT_SECONDS = 5.0  # cli/server.go pings PostgreSQL with 5 s per try
COMMAND_SECONDS = 30.0
ACQUIRE_SECONDS = 30.0
START_SECONDS = 30.0  # cli/server.go ConnectToPostgres gives up after 30 s
RETRY_FIRST, RETRY_LAST = 1.0, 3.0

# After these the session is gone, or belongs to a server that must not be written to.
_BROKEN = (
    asyncpg.PostgresConnectionError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.CannotConnectNowError,
    asyncpg.IdleInTransactionSessionTimeoutError,
    asyncpg.ReadOnlySQLTransactionError,
)


def _harmless(error: BaseException) -> bool:
    """Say whether a connection is surely fit for reuse after ``error``."""
    if isinstance(error, ApiError):
        return True
    return isinstance(error, asyncpg.PostgresError) and not isinstance(error, _BROKEN)


_FRAMES = ("BEGIN", "COMMIT", "ROLLBACK", "SAVEPOINT", "RELEASE")


async def _keep_session(_conn: Conn) -> None:
    """Skip asyncpg's reset statement: it would double the round trips, and no session state is ever changed."""


Observe = Callable[[Trips | None, float], None]
"""Told of every statement of the pool: whose it was, and how many seconds it took."""


class CountedConnection(asyncpg.Connection):  # type: ignore[misc]  # the library ships no types
    """A connection that counts each statement as a round trip of whatever request it serves."""

    observe: Observe | None = None

    async def _counted(self, statement: Awaitable[Any], query: str) -> Any:
        trips = CURRENT.get()
        if trips is not None:
            trips.made += 1
        if self.observe is None or query.startswith(_FRAMES):
            return await statement
        started = time.perf_counter()
        try:
            return await statement
        finally:
            self.observe(trips, time.perf_counter() - started)

    async def execute(self, query: str, *args: Any, **more: Any) -> Any:
        """Run a statement for its effect."""
        return await self._counted(super().execute(query, *args, **more), query)

    async def fetch(self, query: str, *args: Any, **more: Any) -> Any:
        """Run a query and give all its rows."""
        return await self._counted(super().fetch(query, *args, **more), query)

    async def fetchrow(self, query: str, *args: Any, **more: Any) -> Any:
        """Run a query and give its first row."""
        return await self._counted(super().fetchrow(query, *args, **more), query)

    async def fetchval(self, query: str, *args: Any, **more: Any) -> Any:
        """Run a query and give the first column of its first row."""
        return await self._counted(super().fetchval(query, *args, **more), query)


class Database:
    """The pool of one replica. Closed until ``open`` has come back; then every method works until ``close``."""

    def __init__(self, url: str, pool_max: int, trips_per_query: int = 1) -> None:
        self.trips_per_query = trips_per_query
        self._url = url
        self._pool_max = pool_max
        self._pool: Any = None
        self._out = 0
        self._waiting = 0
        self._bound: ContextVar[Conn] = ContextVar("standin_connection")
        self.observe: Observe | None = None

    def connect_arguments(self) -> dict[str, Any]:
        """Give asyncpg's arguments for a connection to the deployment's database."""
        return {
            "dsn": self._url,
            "timeout": CONNECT_SECONDS,
            "command_timeout": COMMAND_SECONDS,
            "server_settings": {"application_name": "coder", "jit": "off"},
        }

    async def open(self) -> None:
        """Open the pool; retry for 30 s, then raise the last error."""
        deadline, pause = time.monotonic() + START_SECONDS, RETRY_FIRST
        while True:
            try:
                self._pool = await asyncpg.create_pool(
                    min_size=1,
                    max_size=self._pool_max,
                    reset=_keep_session,
                    connection_class=CountedConnection,
                    init=self._watch,
                    **self.connect_arguments(),
                )
            except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError) as error:
                if time.monotonic() + pause > deadline:
                    raise
                LOG.warning("ping postgres: retrying in %.0f s: %s", pause, one_line(error))
                await asyncio.sleep(pause)
                pause = min(pause + 1.0, RETRY_LAST)
            else:
                return

    async def close(self) -> None:
        """Close every connection; those still in use after a second are cut."""
        pool, self._pool = self._pool, None
        if pool is None:
            return
        try:
            async with asyncio.timeout(1.0):
                await pool.close()
        except (TimeoutError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            pool.terminate()

    async def _watch(self, conn: Conn) -> None:
        conn.observe = self.observe

    def bound(self) -> bool:
        """Say whether this task has one connection for everything."""
        return self._bound.get(None) is not None

    @asynccontextmanager
    async def acquire(self) -> AsyncIterator[Conn]:
        """Lend a connection: the request's bound one if there is one, else one of the pool."""
        bound = self._bound.get(None)
        if bound is not None:
            yield bound
            return
        pool = self._pool
        if pool is None:
            raise DatabaseAwayError("the connection pool is not open yet")
        conn = await self._take(pool)
        self._out += 1
        try:
            yield conn
        except BaseException as error:
            if not _harmless(error):
                # One that the server has closed is out of the pool already, and says so instead of the error that counts.
                with suppress(asyncpg.InterfaceError):
                    conn.terminate()
            raise
        finally:
            self._out -= 1
            await pool.release(conn, timeout=CONNECT_SECONDS)

    async def _take(self, pool: Any) -> Conn:
        if self._out < self._pool_max:
            return await pool.acquire()  # given at once, or dialled within CONNECT_SECONDS: no clock to be wound
        self._waiting += 1
        try:
            return await pool.acquire(timeout=ACQUIRE_SECONDS)
        finally:
            self._waiting -= 1

    def wanted(self) -> bool:
        """Say whether somebody waits for a connection."""
        return self._waiting > 0

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Conn]:
        """Lend a connection inside a transaction (a savepoint when it is bound); commit at the end."""
        async with self.acquire() as conn:
            transaction = conn.transaction()
            await transaction.start()
            try:
                yield conn
            except BaseException as error:
                if _harmless(error):  # on a broken session a rollback could only hang
                    await transaction.rollback()
                raise
            await transaction.commit()

    @contextmanager
    def bind(self, conn: Conn | None) -> Iterator[None]:
        """Make every ``acquire`` of this task use ``conn``; None takes the binding away."""
        token = self._bound.set(conn)
        try:
            yield
        finally:
            self._bound.reset(token)

    async def row(self, sql: str, *args: object) -> Row | None:
        """Run one query and give its first row."""
        async with self.acquire() as conn:
            return await conn.fetchrow(sql, *args)

    async def rows(self, sql: str, *args: object) -> list[Row]:
        """Run one query and give all its rows."""
        async with self.acquire() as conn:
            found: list[Row] = await conn.fetch(sql, *args)
            return found

    async def value(self, sql: str, *args: object) -> Any:
        """Run one query and give the first column of its first row."""
        async with self.acquire() as conn:
            return await conn.fetchval(sql, *args)
