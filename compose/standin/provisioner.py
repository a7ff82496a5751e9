"""The built-in provisioner daemons: they take jobs from the queue and pretend to build.

Sources: coderd/provisionerdserver/acquirer.go (wake by NOTIFY, backup poll 30 s, one query at a time),
provisionerd/provisionerd.go (retries), cli/server.go (shutdown).
"""

import asyncio
import contextlib
import time
from uuid import UUID

from standin.clock import Clock
from standin.config import Settings
from standin.db import Database, Row
from standin.errors import DATABASE_ERRORS
from standin.log import LOG, one_line
from standin.pubsub import JOB_POSTED, PubSub

# Server seconds.
_POLL = 30.0  # acquirer.go backupPollDuration
_STEP = 0.2
_STEPS = {"workspace_build": 3, "template_version_import": 1}
_RETRY_MIN, _RETRY_MAX = 0.05, 10.0  # provisionerd.go
_GIVE_UP = 180.0  # coderd/jobreaper: a daemon must give up after 3 min of failed updates
_CANCEL_WALL_SECONDS = 5.0  # cli/server.go gives a daemon 5 s once it is interrupted

CHANGED = "json_build_object('kind', 'state_change', 'workspace_id', w.id)::text"
"""SQL for the payload on an owner's channel; ``w`` is the workspace's row."""

_NOTIFY = f"""(
    SELECT pg_notify('workspace_owner:' || w.owner_id, {CHANGED})
    FROM build JOIN workspaces w ON w.id = build.workspace_id
)"""  # noqa: S608 - built of constants only
_TOUCH = "UPDATE workspace_builds b SET updated_at = now() FROM job WHERE b.job_id = job.id"
_ACQUIRE_SQL = f"""
WITH job AS (
    UPDATE provisioner_jobs SET started_at = now(), updated_at = now(), worker_id = $1, worker_name = $2
    WHERE id = (
        SELECT id FROM provisioner_jobs WHERE completed_at IS NULL AND job_status = 'pending'
        ORDER BY created_at LIMIT 1 FOR UPDATE SKIP LOCKED
    ) RETURNING id, type
), build AS ({_TOUCH} RETURNING b.workspace_id)
SELECT job.id, job.type, {_NOTIFY} FROM job
"""  # noqa: S608 - built of constants only
_PROGRESS_SQL = """
UPDATE provisioner_jobs SET updated_at = now() WHERE id = $1 AND worker_id = $2 AND completed_at IS NULL RETURNING id
"""
_FINISH_SQL = f"""
WITH job AS (
    UPDATE provisioner_jobs SET completed_at = now(), updated_at = now(), error = nullif($3, '')
    WHERE id = $1 AND worker_id = $2 AND completed_at IS NULL RETURNING id
), build AS ({_TOUCH} RETURNING b.workspace_id, b.transition), gone AS (
    UPDATE workspaces SET deleted = true, updated_at = now() FROM build
    WHERE id = build.workspace_id AND build.transition = 'delete' AND $3 = ''
)
SELECT job.id, {_NOTIFY} FROM job
"""  # noqa: S608 - built of constants only


class Provisioner:
    """The daemons of one replica, each with at most one job. Jobs of a dead replica are left to the reaper."""

    def __init__(self, settings: Settings, clock: Clock, db: Database, pubsub: PubSub, worker: UUID) -> None:
        self._db = db
        self._pubsub = pubsub
        self._clock = clock
        self._worker = worker
        self._count = settings.daemons
        self._name = f"{settings.hostname}-builtin"
        self._wake = asyncio.Event()
        self._jobs: set[asyncio.Task[None]] = set()
        self._acquirer: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start to take jobs."""
        if self._count == 0:
            return
        await self._pubsub.subscribe(JOB_POSTED, lambda _payload: self._wake.set())
        self._pubsub.on_reconnect(self._wake.set)
        self._acquirer = asyncio.create_task(self._acquire_forever(), name="acquirer")

    async def stop(self, *, interrupt: bool) -> None:
        """Take no more jobs; wait up to 30 min (server time) for the running ones, or fail them at once."""
        if self._acquirer is not None:
            self._acquirer.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._acquirer
        if not self._jobs:
            return
        LOG.info("waiting for %d provisioner jobs", len(self._jobs))
        if not interrupt:
            await asyncio.wait(self._jobs, timeout=self._clock.server(1800.0))  # cli/server.go
        for job in self._jobs:
            job.cancel()
        if self._jobs:
            await asyncio.wait(self._jobs, timeout=_CANCEL_WALL_SECONDS)

    async def _acquire_forever(self) -> None:
        while True:
            self._wake.clear()
            try:
                while len(self._jobs) < self._count:
                    job = await self._db.row(_ACQUIRE_SQL, self._worker, self._name)
                    if job is None:
                        break
                    self._begin(job)
            except DATABASE_ERRORS as error:
                LOG.warning("could not acquire a job: %s", one_line(error))
                await asyncio.sleep(self._clock.server(1.0))
                continue
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._clock.server(_POLL)):
                    await self._wake.wait()

    def _begin(self, job: Row) -> None:
        task = asyncio.create_task(self._run(job["id"], _STEPS[job["type"]]), name=f"job-{job['id']}")
        self._jobs.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._jobs.discard(task)
        self._wake.set()

    async def _run(self, job: UUID, steps: int) -> None:
        try:
            for _ in range(steps):
                await asyncio.sleep(self._clock.server(_STEP))
                if not await self._persist(_PROGRESS_SQL, job, self._worker):
                    LOG.warning("job %s is no longer ours", job)
                    return
            if not await self._persist(_FINISH_SQL, job, self._worker, ""):
                LOG.warning("job %s had already ended", job)
        except asyncio.CancelledError:
            await self._persist(_FINISH_SQL, job, self._worker, "the provisioner daemon was interrupted")

    async def _persist(self, sql: str, *args: object) -> bool:
        """Write with retries; False when the job has ended elsewhere or the database stayed away too long."""
        pause, deadline = _RETRY_MIN, time.monotonic() + self._clock.server(_GIVE_UP)
        while True:
            try:
                return await self._db.row(sql, *args) is not None
            except DATABASE_ERRORS as error:
                if time.monotonic() > deadline:
                    LOG.error("gave a job up: %s", one_line(error))
                    return False
            await asyncio.sleep(self._clock.server(pause))
            pause = min(pause * 2, _RETRY_MAX)
