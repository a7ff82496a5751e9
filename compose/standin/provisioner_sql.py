"""The statements of a job's life; each is one round trip and all or nothing, watchers and log followers included."""

CHANGED = "json_build_object('kind', 'state_change', 'workspace_id', w.id)::text"
"""SQL for the payload on an owner's channel; ``w`` is the workspace's row."""

TOUCH = "UPDATE workspace_builds b SET updated_at = now() FROM job WHERE b.job_id = job.id"
"""SQL that marks the builds of ``job`` as changed."""

NOTIFY = f"""(
    SELECT pg_notify('workspace_owner:' || w.owner_id, {CHANGED})
    FROM build JOIN workspaces w ON w.id = build.workspace_id
)"""  # noqa: S608 - built of constants only
"""SQL that tells the watchers of the workspaces of ``build``."""

END_OF_LOGS = "pg_notify('provisioner-log-logs:' || job.id, '{\"end_of_logs\":true}')"
"""SQL that tells the followers of ``job`` that no more lines come."""

REGISTER = """
INSERT INTO provisioner_daemons (id, organization_id, name, version, api_version, provisioners, replica_id, tags)
SELECT new.id, o.id, new.name, $3, '1.12', '{terraform,echo}', $4, '{"owner":"","scope":"organization"}'
FROM unnest($1::uuid[], $2::text[]) AS new (id, name), organizations o WHERE o.is_default
"""
BEAT = "UPDATE provisioner_daemons SET last_seen_at = now() WHERE id = ANY ($1)"
ACQUIRE = f"""
WITH job AS (
    UPDATE provisioner_jobs SET started_at = now(), updated_at = now(), worker_id = $1, worker_name = $2
    WHERE id = (
        SELECT id FROM provisioner_jobs WHERE completed_at IS NULL AND job_status = 'pending'
        ORDER BY created_at LIMIT 1 FOR UPDATE SKIP LOCKED
    ) RETURNING id, type
), build AS ({TOUCH} RETURNING b.workspace_id, b.transition)
SELECT job.id, job.type, (SELECT transition FROM build) AS transition, {NOTIFY} FROM job
"""  # noqa: S608 - built of constants only
PROGRESS = """
WITH job AS (
    UPDATE provisioner_jobs SET updated_at = now() WHERE id = $1 AND worker_id = $2 AND completed_at IS NULL
    RETURNING id, canceled_at IS NOT NULL AS canceled, started_at
), lines AS (
    INSERT INTO provisioner_job_logs (job_id, source, level, stage, output)
    SELECT job.id, new.* FROM job, unnest($3::text[], $4::text[], $5::text[], $6::text[]) new
), timing AS (
    INSERT INTO provisioner_job_timings (job_id, stage, source, action, resource, started_at, ended_at)
    SELECT job.id, $7, 'standin', 'read', 'standin.nothing', coalesce(
        (SELECT max(ended_at) FROM provisioner_job_timings t WHERE t.job_id = job.id), job.started_at
    ), now() FROM job WHERE $7 <> ''
)
SELECT job.id, job.canceled, pg_notify('provisioner-log-logs:' || job.id, '{"end_of_logs":false}') FROM job
"""
FINISH = f"""
WITH job AS (
    UPDATE provisioner_jobs SET completed_at = now(), updated_at = now(), error = nullif($3, '')
    WHERE id = $1 AND worker_id = $2 AND completed_at IS NULL RETURNING id, job_status
), build AS (
    UPDATE workspace_builds b SET updated_at = now(), deadline = CASE
        WHEN b.transition = 'start' AND w.ttl_ms > 0 THEN now() + w.ttl_ms * interval '1 millisecond' END
    FROM job, workspaces w WHERE b.job_id = job.id AND w.id = b.workspace_id RETURNING b.workspace_id, b.transition
), gone AS (
    UPDATE workspaces SET deleted = true, updated_at = now() FROM build, job
    WHERE workspaces.id = build.workspace_id AND build.transition = 'delete' AND job.job_status = 'succeeded'
)
SELECT job.id, {NOTIFY}, {END_OF_LOGS} FROM job
"""  # noqa: S608 - built of constants only
