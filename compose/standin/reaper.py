"""Fails jobs whose worker is gone, and jobs nobody took (coderd/jobreaper/detector.go)."""

import asyncio
from datetime import timedelta

from standin.clock import Clock
from standin.db import Database
from standin.errors import DATABASE_ERRORS
from standin.log import LOG, one_line
from standin.notifications import build_ended
from standin.provisioner_sql import END_OF_LOGS, NOTIFY, TOUCH

# Server seconds.
_TICK = 60.0  # CODER_JOB_HANG_DETECTOR_INTERVAL
_HUNG = 300.0  # detector.go HungJobDuration
_PENDING = 1800.0  # detector.go PendingJobDuration

_REAP_SQL = f"""
WITH job AS (
    UPDATE provisioner_jobs j SET completed_at = now(), updated_at = now(),
        error = CASE WHEN old.started_at IS NULL
            THEN 'Build has been detected as pending for 30 minutes and has been terminated by the reaper.'
            ELSE 'Build has been detected as hung for 5 minutes and has been terminated by the reaper.' END
    FROM (
        SELECT id, started_at FROM provisioner_jobs WHERE completed_at IS NULL AND (
            (started_at IS NOT NULL AND updated_at < now() - $1::interval)
            OR (started_at IS NULL AND updated_at < now() - $2::interval)
        ) ORDER BY updated_at LIMIT 10 FOR UPDATE SKIP LOCKED  -- detector.go MaxJobsPerRun
    ) old WHERE j.id = old.id RETURNING j.id, j.type, j.error
), lines AS (
    INSERT INTO provisioner_job_logs (job_id, source, level, stage, output)
    SELECT id, 'provisioner_daemon', 'error', 'Cleaning Up', error FROM job
), build AS ({TOUCH} RETURNING b.workspace_id), told AS {NOTIFY}
SELECT job.id, job.type, {END_OF_LOGS}, (SELECT count(*) FROM told) AS told FROM job
"""  # noqa: S608 - built of constants only


async def reap_forever(db: Database, clock: Clock) -> None:
    """Look once a minute; every replica does, and row locks keep them apart."""
    hung, pending = (timedelta(seconds=clock.server(seconds)) for seconds in (_HUNG, _PENDING))
    while True:
        await asyncio.sleep(clock.server(_TICK))
        try:
            for row in await db.rows(_REAP_SQL, hung, pending):
                LOG.warning("forcefully terminating provisioner job %s", row["id"])
                if row["type"] == "workspace_build":
                    await build_ended(db, row["id"])
        except DATABASE_ERRORS as error:
            LOG.warning("job reaper: %s", one_line(error))
