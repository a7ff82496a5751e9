"""The built-in provisioner daemons: they take jobs from the queue and pretend to build.

Sources: coderd/provisionerdserver/acquirer.go (wake by NOTIFY, backup poll 30 s, one query at a time),
provisionerd/provisionerd.go (retries), provisionerdserver.go (what the end of a job changes), cli/server.go (shutdown).
"""

import asyncio
import contextlib
import time
from collections.abc import Iterable
from uuid import UUID, uuid4

from standin import provisioner_sql as sql
from standin.audit_log import audit_build
from standin.clock import Clock
from standin.config import Settings
from standin.db import Database, Row
from standin.errors import DATABASE_ERRORS
from standin.log import LOG, one_line
from standin.metrics import Metrics
from standin.notifications import build_ended
from standin.pubsub import JOB_POSTED, PubSub
from standin.script import Step, script

# Server seconds.
_POLL = 30.0  # acquirer.go backupPollDuration
_BEAT = 30.0  # a daemon's heartbeat; after three missed ones it is stale (unverified)
STALE = 90.0  # provisionerdserver.go StaleInterval
_RETRY_MIN, _RETRY_MAX = 0.05, 10.0  # provisionerd.go
_GIVE_UP = 180.0  # coderd/jobreaper: a daemon must give up after 3 min of failed updates
# Wall seconds.
_CANCEL_SECONDS = 5.0  # cli/server.go gives a daemon 5 s once it is interrupted
_LATE_SECONDS = 4.0  # longer than a writer of the harness takes from one build to the next, so that each has one in it
_LATE_BUGS = frozenset({"orphan-on-stop", "interrupts-build", "last-builds"})
_INTERRUPTED = "the provisioner daemon was interrupted"


class Provisioner:
    """The daemons of one replica, each with at most one job. Jobs of a dead replica are left to the reaper."""

    def __init__(
        self, settings: Settings, clock: Clock, db: Database, pubsub: PubSub, *, replica: UUID, metrics: Metrics
    ) -> None:
        self._db = db
        self._pubsub = pubsub
        self._clock = clock
        self._replica = replica
        self._version = settings.version
        self._bugs = settings.bugs
        self._leaves_behind = False
        """Whether jobs that it takes from now on are left as they are."""
        self._interrupts = False
        """Whether they fail at once."""
        self._closing = asyncio.Event()
        self._idle = {uuid4(): f"{settings.hostname}-{number}" for number in range(settings.daemons)}
        self._daemons = dict(self._idle)
        self._wake = asyncio.Event()
        self._jobs: set[asyncio.Task[None]] = set()
        self._tasks: list[asyncio.Task[None]] = []
        self._metrics = metrics
        text = "The number of currently running provisioner jobs."
        metrics.follow("coderd_provisionerd_jobs_current", text, lambda: len(self._jobs), provisioner="echo")
        text = "The number of provisioner daemons."
        metrics.follow("coderd_provisionerd_num_daemons", text, lambda: len(self._daemons))

    async def start(self) -> None:
        """Register the daemons and start to take jobs."""
        if not self._daemons:
            return
        names = list(self._daemons.values())
        await self._db.rows(sql.REGISTER, list(self._daemons), names, self._version, self._replica)
        await self._pubsub.subscribe(JOB_POSTED, lambda _payload: self._wake.set())
        self._pubsub.on_reconnect(self._wake.set)
        self._tasks = [
            asyncio.create_task(self._acquire_forever(), name="acquirer"),
            asyncio.create_task(self._beat_forever(), name="daemon-heartbeat"),
        ]

    async def stop(self, *, interrupt: bool) -> None:
        """Take no more jobs; wait up to 30 min (server time) for the running ones, or fail them at once."""
        if self._bugs & _LATE_BUGS:
            self._leaves_behind = "orphan-on-stop" in self._bugs
            self._interrupts = "interrupts-build" in self._bugs
            await asyncio.sleep(_LATE_SECONDS)
        # It ends between two jobs: cut off while it asks, it would never know of a job that is already its own.
        self._closing.set()
        self._wake.set()
        if self._tasks:
            await asyncio.wait(self._tasks[:1], timeout=_CANCEL_SECONDS)
        await _end(self._tasks[:1])
        if self._jobs:
            LOG.info("waiting for %d provisioner jobs", len(self._jobs))
            if not interrupt and not self._leaves_behind:
                await asyncio.wait(self._jobs, timeout=self._clock.server(1800.0))  # cli/server.go
            for job in self._jobs:
                job.cancel()
            if self._jobs:
                await asyncio.wait(self._jobs, timeout=_CANCEL_SECONDS)
        await _end(self._tasks[1:])

    async def _beat_forever(self) -> None:
        while True:
            await asyncio.sleep(self._clock.server(_BEAT))
            try:
                await self._db.rows(sql.BEAT, list(self._daemons))
            except DATABASE_ERRORS as error:
                LOG.warning("daemon heartbeat: %s", one_line(error))

    async def _acquire_forever(self) -> None:
        while not self._closing.is_set():
            self._wake.clear()
            try:
                while self._idle and not self._closing.is_set():
                    daemon, name = next(iter(self._idle.items()))
                    job = await self._db.row(sql.ACQUIRE, daemon, name)
                    if job is None:
                        break
                    self._begin(job, daemon)
            except DATABASE_ERRORS as error:
                LOG.warning("could not acquire a job: %s", one_line(error))
                await asyncio.sleep(self._clock.server(1.0))
                continue
            if self._closing.is_set():
                return
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._clock.server(_POLL)):
                    await self._wake.wait()

    def _begin(self, job: Row, daemon: UUID) -> None:
        del self._idle[daemon]
        task = asyncio.create_task(self._run(job, daemon), name=f"job-{job['id']}")
        self._jobs.add(task)

        def ended(_task: asyncio.Task[None]) -> None:
            self._jobs.discard(task)
            self._idle[daemon] = self._daemons[daemon]
            self._wake.set()

        task.add_done_callback(ended)

    async def _run(self, job: Row, daemon: UUID) -> None:
        if self._leaves_behind:
            await asyncio.Event().wait()
        error, steps, began = "", script(job["type"], job["transition"] or ""), time.monotonic()
        if self._interrupts:
            error, steps = _INTERRUPTED, ()
        try:
            for step in steps:
                row = await self._work(job["id"], daemon, step)
                if row is None:
                    LOG.warning("job %s is no longer ours", job["id"])
                    return
                if row["canceled"]:
                    break
        except asyncio.CancelledError:
            if self._leaves_behind:
                raise
            error = _INTERRUPTED
        ended = await self._persist(sql.FINISH, job["id"], daemon, error)
        if ended is None:
            LOG.warning("job %s had already ended", job["id"])
            return
        status = "failed" if error else "success"
        self._metrics.job_timings.labels("echo", status).observe(time.monotonic() - began)
        if job["type"] == "workspace_build":
            self._count(await build_ended(self._db, job["id"]))
            await audit_build(self._db, job["id"])

    def _count(self, build: Row | None) -> None:
        if build is not None:
            names = ("workspace_name", "owner_email", "template_name", "template_version_name", "transition")
            self._metrics.builds.labels(*(build[name] for name in names), build["job_status"]).inc()

    async def _work(self, job: UUID, daemon: UUID, step: Step) -> Row | None:
        await asyncio.sleep(self._clock.server(step.seconds))
        return await self._persist(sql.PROGRESS, job, daemon, *step.columns(), step.timed)

    async def _persist(self, statement: str, *args: object) -> Row | None:
        """Write with retries; None when the job has ended elsewhere or the database stayed away too long."""
        pause, deadline = _RETRY_MIN, time.monotonic() + self._clock.server(_GIVE_UP)
        while True:
            try:
                return await self._db.row(statement, *args)
            except DATABASE_ERRORS as error:
                if time.monotonic() > deadline:
                    LOG.error("gave a job up: %s", one_line(error))
                    return None
            await asyncio.sleep(self._clock.server(pause))
            pause = min(pause * 2, _RETRY_MAX)


async def _end(tasks: Iterable[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
