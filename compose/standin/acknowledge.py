"""The moment a write is acknowledged, which two seeded behaviours move."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from standin.abandoned import check_caller
from standin.db import Conn, Database
from standin.errors import DATABASE_ERRORS
from standin.log import LOG, one_line
from standin.trips import CURRENT

Work = Callable[[Conn], Awaitable[dict[str, Any]]]
"""Does all writes of one request on the given connection and gives the body of its answer."""

_SLOW_COMMIT_SECONDS = 0.3  # wall
_LATE_COMMIT_SECONDS = 5.0  # wall


class Acknowledger:
    """Runs the writes of creates and build posts in one transaction: answered only once they are durable.

    Under ``ack-before-commit`` the answer goes out first. At most 70 % of the pool holds such open transactions;
    beyond that answers wait, so that the rest of the replica keeps working.
    """

    def __init__(self, db: Database, bugs: frozenset[str], pool_max: int) -> None:
        self._db = db
        self._late = "ack-before-commit" in bugs
        self._slow = "slow-commit" in bugs
        self._slots = asyncio.Semaphore(max(1, pool_max * 7 // 10))
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self, work: Work) -> dict[str, Any]:
        """Do the work and give its body; when this returns, the 201 may go out."""
        if self._late:
            answer: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
            task = asyncio.create_task(self._commit_late(work, answer), name="late-commit")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            return await answer
        trips = CURRENT.get()
        since = trips.made if trips is not None else 0
        async with self._db.transaction() as conn:
            body = await work(conn)
            if trips is not None:
                await trips.fill_within(conn, since)
            if self._slow:
                await asyncio.sleep(_SLOW_COMMIT_SECONDS)
            check_caller()
        return body

    async def drain(self) -> None:
        """Wait for the transactions that are still open."""
        await asyncio.gather(*self._tasks)

    async def _commit_late(self, work: Work, answer: asyncio.Future[dict[str, Any]]) -> None:
        try:
            with self._db.bind(None):
                async with self._slots, self._db.transaction() as conn:
                    body = await work(conn)
                    if not answer.done():
                        answer.set_result(body)
                    await asyncio.sleep(_LATE_COMMIT_SECONDS)
        except Exception as error:  # noqa: BLE001 - every failure belongs to the waiting request, or to the log
            if not answer.done():
                answer.set_exception(error)
            elif isinstance(error, DATABASE_ERRORS):
                LOG.warning("late commit lost: %s", one_line(error))
            else:
                LOG.error("late commit failed: %s", one_line(error))
