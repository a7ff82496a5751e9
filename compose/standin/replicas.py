"""Membership: each replica beats in one table and probes its peers (enterprise/replicasync/replicasync.go)."""

import asyncio
import contextlib
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from uuid import uuid4

import aiohttp

from standin.clock import Clock
from standin.config import Settings
from standin.db import Database, Row
from standin.errors import DATABASE_ERRORS
from standin.log import LOG, one_line
from standin.pubsub import REPLICA, PubSub

if TYPE_CHECKING:
    from collections.abc import Iterable

# Server seconds, all from enterprise/replicasync/replicasync.go.
_BEAT = 5.0
_BEATS_MISSED = 3
_PROBE_TIMEOUT = 3.0
_KEEP_ROWS = 1800.0

_SLOWER = {"heartbeat-10x": 10.0, "heartbeat-1.3x": 1.3}

_BEAT_SQL = """
INSERT INTO replicas (id, hostname, relay_address, version, error, database_latency)
VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (id) DO UPDATE SET updated_at = now(), error = excluded.error, database_latency = excluded.database_latency
"""
_LIVE_SQL = """
SELECT id, hostname, created_at, relay_address, region_id, error, database_latency FROM replicas
WHERE stopped_at IS NULL AND updated_at > now() - $1::interval ORDER BY created_at
"""


class Replicas:
    """This replica's own row, and its view of the others. Ages are judged by the database's clock."""

    def __init__(self, settings: Settings, clock: Clock, db: Database, pubsub: PubSub) -> None:
        slower = max((factor for bug, factor in _SLOWER.items() if bug in settings.bugs), default=1.0)
        self.id = uuid4()
        self.interval = clock.server(_BEAT * slower)
        self.gone_after = timedelta(seconds=self.interval * _BEATS_MISSED)
        self._clock = clock
        self._settings = settings
        self._db = db
        self._pubsub = pubsub
        self._error = ""
        self._latency = 0
        self._bugs = settings.bugs
        self._changed = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Insert the row and keep it fresh."""
        await self._beat()
        self._tasks.append(asyncio.create_task(self._beat_forever(), name="heartbeat"))

    async def greet(self, http: aiohttp.ClientSession) -> None:
        """Tell the peers, now that they can dial this replica, and keep dialling them."""
        await self._pubsub.subscribe(REPLICA, lambda _payload: self._changed.set())
        await self._announce()
        self._tasks.append(asyncio.create_task(self._probe_forever(http), name="peer-probe"))

    async def stop(self) -> None:
        """Stop beating and leave the membership at once."""
        for task in self._tasks:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        try:
            async with asyncio.timeout(5.0):  # replicasync.go gives its goodbye 5 s of its own
                async with self._db.acquire() as conn:
                    await conn.execute(
                        'UPDATE replicas SET stopped_at = now(), "primary" = false WHERE id = $1', self.id
                    )
                await self._announce()
        except DATABASE_ERRORS as error:
            LOG.warning("could not leave the membership: %s", one_line(error))

    async def live(self) -> list[Row]:
        """Give the rows of every replica that is neither stopped nor too old, oldest first."""
        return await self._db.rows(_LIVE_SQL, self.gone_after)

    async def _announce(self) -> None:
        await self._db.value("SELECT pg_notify($1, $2)", REPLICA, str(self.id))

    async def _beat(self) -> None:
        """Write the row once, with the database's latency in microseconds."""
        async with self._db.acquire() as conn:
            started = time.perf_counter()
            await conn.fetchval("SELECT 1")
            latency = self._reported(int((time.perf_counter() - started) * 1e6))
            made = self._settings
            await conn.execute(_BEAT_SQL, self.id, made.hostname, made.relay_url, made.version, self._error, latency)

    def _reported(self, latency: int) -> int:
        """Give what the row is to say: what was measured, but for a seeded behaviour."""
        before, self._latency = self._latency, latency
        if "latency-not-reported" in self._bugs:
            return 0
        return before if "latency-reported-late" in self._bugs else latency

    async def _beat_forever(self) -> None:
        due, cleaned = time.monotonic(), time.monotonic()
        while True:
            due = max(due + self.interval, time.monotonic())  # after a freeze: one beat, not all the missed ones
            await asyncio.sleep(due - time.monotonic())
            try:
                await self._beat()
                if time.monotonic() - cleaned > self._clock.server(_KEEP_ROWS):
                    cleaned = time.monotonic()
                    old = timedelta(seconds=self._clock.server(_KEEP_ROWS))
                    await self._db.value("DELETE FROM replicas WHERE updated_at < now() - $1::interval", old)
            except DATABASE_ERRORS as error:
                LOG.warning("failed to send heartbeat: %s", one_line(error))

    async def _probe_forever(self, http: aiohttp.ClientSession) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self.interval):
                    await self._changed.wait()
            self._changed.clear()
            try:
                error = await self._probe(http)
                if error != self._error:
                    LOG.info("peer probe: %s", error or "all peers answer")
                    self._error = error
                    await self._beat()
                    await self._announce()
            except DATABASE_ERRORS as error:
                LOG.warning("peer probe: %s", one_line(error))

    async def _probe(self, http: aiohttp.ClientSession) -> str:
        """Dial every live peer's relay address; give Coder's text for those that did not answer, or nothing."""
        peers = [row for row in await self.live() if row["id"] != self.id and row["relay_address"]]
        failures: Iterable[str | None] = await asyncio.gather(*(self._dial(http, row) for row in peers))
        failed = [failure for failure in failures if failure]
        return f"Failed to dial peers: {', '.join(failed)}" if failed else ""

    async def _dial(self, http: aiohttp.ClientSession, peer: Row) -> str | None:
        address = peer["relay_address"].rstrip("/")
        timeout = aiohttp.ClientTimeout(total=self._clock.server(_PROBE_TIMEOUT))
        try:
            async with http.get(f"{address}/derp/latency-check", timeout=timeout):
                return None  # whatever the status, it was reached
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            return f"relay {peer['hostname']} ({urlsplit(address).netloc or address}): {one_line(error)}"


def replica_view(row: Row) -> dict[str, Any]:
    """Shape one row for ``GET /replicas``; ``database_latency`` is in microseconds."""
    return {
        "id": str(row["id"]),
        "hostname": row["hostname"],
        "created_at": row["created_at"].isoformat().replace("+00:00", "Z"),
        "relay_address": row["relay_address"],
        "region_id": row["region_id"],
        "error": row["error"],
        "database_latency": row["database_latency"],
    }
