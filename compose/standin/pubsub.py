"""LISTEN/NOTIFY on a connection of its own (coderd/database/pubsub/pubsub.go)."""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg

from standin.clock import Clock
from standin.db import CONNECT_SECONDS, Conn, Database
from standin.log import LOG, one_line
from standin.metrics import Metrics

Listener = Callable[[str], None]
"""Called with a message's payload, on the event loop; must not block or raise."""

Hook = Callable[[], None]
"""Called when LISTEN is back after a loss."""

JOB_POSTED = "provisioner_job_posted"
REPLICA = "replica"

# Server seconds: pubsub.go gives the listener 1 s and 1 min as reconnect bounds, doubling between.
_RECONNECT_MIN, _RECONNECT_MAX = 1.0, 60.0
# Server seconds: watchdog.go beats every 15 s; here the beat is a query, so a half-open socket shows.
_BEAT = 15.0

_COLOSSAL = 7600  # bytes; coderd/database/pubsub/pubsub.go calls a message so (unverified)

_ERRORS = (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError)


def owner_channel(owner_id: object) -> str:
    """Name the channel on which a user's workspaces announce every change."""
    return f"workspace_owner:{owner_id}"


def template_channel(template_id: object) -> str:
    """Name the channel on which a template announces a new active version; its messages are empty."""
    return f"template:{template_id}"


def logs_channel(job_id: object) -> str:
    """Name the channel on which a job announces new log lines, and their end."""
    return f"provisioner-log-logs:{job_id}"


def inbox_channel(user_id: object) -> str:
    """Name the channel on which a user's inbox announces new notifications."""
    return f"inbox_notification:owner:{user_id}"


class PubSub:
    """Hands messages to listeners and keeps the LISTEN connection alive.

    Messages sent while it is away are lost. A listener with ``on_loss`` is told so once LISTEN is back, as in Coder.
    """

    def __init__(self, db: Database, clock: Clock, metrics: Metrics) -> None:
        self._db = db
        self._clock = clock
        self._metrics = metrics
        metrics.follow(
            "coder_pubsub_connected", "Whether we are connected (1) or not (0).", lambda: self._conn is not None
        )
        metrics.follow("coder_pubsub_current_events", "The current number of channels.", lambda: len(self._listeners))
        text = "The current number of active subscribers."
        metrics.follow("coder_pubsub_current_subscribers", text, lambda: sum(map(len, self._listeners.values())))
        self._listeners: dict[str, dict[Listener, Hook | None]] = {}
        self._reconnect_hooks: list[Hook] = []
        self._listening: set[str] = set()
        self._conn: Conn | None = None
        self._lost = asyncio.Event()
        self._lock = asyncio.Lock()  # asyncpg allows one statement at a time per connection
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Connect for the first time, raising what fails, and keep connected from then on."""
        await self._connect()
        self._task = asyncio.create_task(self._keep(), name="pubsub")

    async def stop(self) -> None:
        """Stop listening."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        self._drop()

    def on_reconnect(self, hook: Hook) -> None:
        """Call ``hook`` whenever LISTEN is back after a loss, since messages may have been missed."""
        self._reconnect_hooks.append(hook)

    async def subscribe(self, channel: str, listener: Listener, on_loss: Hook | None = None) -> None:
        """Call ``listener`` for every message on ``channel``; returns once the database listens, if it can be asked."""
        self._listeners.setdefault(channel, {})[listener] = on_loss
        await self._settle(channel)
        self._metrics.subscribes.labels("true" if self._conn is not None else "false").inc()

    async def unsubscribe(self, channel: str, listener: Listener) -> None:
        """Take a listener away; the last one ends LISTEN on its channel."""
        listeners = self._listeners.get(channel, {})
        listeners.pop(listener, None)
        if not listeners:
            self._listeners.pop(channel, None)
        await self._settle(channel)

    async def _settle(self, channel: str) -> None:
        """LISTEN or UNLISTEN so that the connection matches the table of listeners.

        Shielded: a statement that is broken off would cost the connection, and with it everybody's messages.
        """
        if channel in self._listeners and channel in self._listening:
            return
        await asyncio.shield(asyncio.ensure_future(self._settle_now(channel)))

    async def _settle_now(self, channel: str) -> None:
        async with self._lock:
            wanted = channel in self._listeners
            if self._conn is None or wanted == (channel in self._listening):
                return
            if wanted:
                if await self._command(self._conn.add_listener(channel, self._on_notify)):
                    self._listening.add(channel)
            else:
                self._listening.discard(channel)
                await self._command(self._conn.remove_listener(channel, self._on_notify))

    async def _command(self, statement: Awaitable[Any]) -> bool:
        """Run a statement on the LISTEN connection; a failure drops it, and the keeper reconnects."""
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                await statement
        except _ERRORS as error:
            LOG.warning("pubsub statement failed: %s", one_line(error))
            self._drop()
            return False
        return True

    async def _connect(self) -> None:
        """Open the connection and LISTEN on every channel that has listeners."""
        conn = await asyncpg.connect(**self._db.connect_arguments())
        conn.add_termination_listener(self._on_end)
        try:
            async with self._lock:
                self._lost.clear()
                self._listening.clear()
                self._conn = conn
        except asyncio.CancelledError:  # it is nobody's yet
            conn.terminate()
            raise
        for channel in list(self._listeners):
            await self._settle(channel)

    def _on_notify(self, _conn: Any, _pid: int, channel: str, payload: str) -> None:
        self._metrics.messages.labels("colossal" if len(payload) >= _COLOSSAL else "normal").inc()
        self._metrics.received.inc(len(payload))
        for listener in tuple(self._listeners.get(channel, ())):
            listener(payload)

    def _on_end(self, conn: Any) -> None:
        if conn is self._conn:
            self._drop()

    def _drop(self) -> None:
        conn, self._conn = self._conn, None
        self._lost.set()
        if conn is not None and not conn.is_closed():
            conn.terminate()

    async def _keep(self) -> None:
        """Beat while connected; reconnect at once if the connection had held for a while."""
        while True:
            connected_at = time.monotonic()
            await self._beat_until_lost()
            LOG.warning("pubsub disconnected from postgres")
            self._metrics.disconnections.inc()
            await asyncio.sleep(max(0.0, connected_at + self._clock.server(_RECONNECT_MIN) - time.monotonic()))
            await self._reconnect()
            LOG.info("pubsub reconnected to postgres")
            lost = [loss for listeners in self._listeners.values() for loss in listeners.values() if loss is not None]
            for hook in (*self._reconnect_hooks, *lost):
                hook()

    async def _beat_until_lost(self) -> None:
        while self._conn is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._clock.server(_BEAT)):
                    await self._lost.wait()
            async with self._lock:
                if self._conn is not None:
                    await self._command(self._conn.execute("SELECT 1"))

    async def _reconnect(self) -> None:
        """Try until connected, with doubling pauses."""
        pause = _RECONNECT_MIN
        while True:
            try:
                await self._connect()
            except _ERRORS as error:
                LOG.warning("pubsub reconnect failed, next try in %.0f s: %s", pause, one_line(error))
                await asyncio.sleep(self._clock.server(pause))
                pause = min(pause * 2, _RECONNECT_MAX)
            else:
                return
