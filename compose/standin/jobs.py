"""Jobs and daemons of an organization, ending a job early, and how long its stages took.

Sources: coderd/provisionerjobs.go, coderd/provisionerdaemons.go, coderd/workspacebuilds.go, coderd/templateversions.go.
"""

import json
from datetime import timedelta
from typing import Any
from uuid import UUID

from aiohttp import web

from standin import views
from standin.auth import ACTOR, Actor
from standin.body import page, path_uuid
from standin.db import Conn, Database, Row
from standin.errors import ApiError, not_found
from standin.lookup import as_uuid, find_organization
from standin.provisioner import STALE
from standin.provisioner_sql import NOTIFY, TOUCH
from standin.routing import Access, Route, answer, message
from standin.services import services_of
from standin.views import stamp

_PAGE = 50  # coderd/provisionerjobs.go
_JOBS_SQL = """
SELECT j.*, v.name AS version_name, w.id AS workspace_id, w.name AS workspace_name, t.id AS template_id,
    t.name AS template_name, t.display_name AS template_display_name, t.icon AS template_icon,
    CASE WHEN j.job_status = 'pending' THEN ARRAY(
        SELECT d.id FROM provisioner_daemons d WHERE d.last_seen_at > now() - $2::interval
    ) END AS available_workers
FROM job_columns j
LEFT JOIN workspace_builds b ON b.job_id = j.job_id
LEFT JOIN workspaces w ON w.id = b.workspace_id
LEFT JOIN template_versions v ON v.job_id = j.job_id OR v.id = b.template_version_id
LEFT JOIN templates t ON t.id = v.template_id
WHERE j.job_organization_id = $1 AND ($3::uuid[] IS NULL OR j.job_id = ANY ($3))
    AND ($4::text[] IS NULL OR j.job_status = ANY ($4)) AND ($5::uuid IS NULL OR j.job_initiator_id = $5)
ORDER BY j.job_created_at DESC LIMIT $6
"""
_DAEMONS_SQL = """
SELECT d.*, d.last_seen_at > now() - $2::interval AS alive, busy.id AS job_id, busy.job_status AS job_status,
    last.id AS last_id, last.job_status AS last_status
FROM provisioner_daemons d
LEFT JOIN LATERAL (
    SELECT * FROM provisioner_jobs j WHERE j.worker_id = d.id AND j.completed_at IS NULL LIMIT 1
) busy ON true
LEFT JOIN LATERAL (
    SELECT * FROM provisioner_jobs j WHERE j.worker_id = d.id AND j.completed_at IS NOT NULL
    ORDER BY j.completed_at DESC LIMIT 1
) last ON true
WHERE d.organization_id = $1 ORDER BY d.created_at LIMIT $3
"""
_CANCEL_SQL = f"""
WITH job AS (
    UPDATE provisioner_jobs SET canceled_at = now(), completed_at = CASE WHEN worker_id IS NULL THEN now() END
    WHERE id = $1 RETURNING id
), build AS ({TOUCH} RETURNING b.workspace_id)
SELECT job.id, {NOTIFY} FROM job
"""  # noqa: S608 - built of constants only
_STATUSES = ("pending", "running", "succeeded", "canceling", "canceled", "failed", "unknown")


def _stale(request: web.Request) -> timedelta:
    return timedelta(seconds=services_of(request).clock.server(STALE))


def _job_view(row: Row) -> dict[str, Any]:
    workers = row["available_workers"]
    metadata = {
        "template_version_name": row["version_name"] or "",
        "template_id": str(row["template_id"] or UUID(int=0)),
        "template_name": row["template_name"] or "",
        "template_display_name": row["template_display_name"] or "",
        "template_icon": row["template_icon"] or "",
        **({"workspace_id": str(row["workspace_id"])} if row["workspace_id"] else {}),
        **({"workspace_name": row["workspace_name"]} if row["workspace_name"] else {}),
    }
    more = {} if workers is None else {"available_workers": [str(worker) for worker in workers]}
    return {**views.job(row), **more, "metadata": metadata}


async def _jobs(request: web.Request, ids: list[UUID] | None) -> list[dict[str, Any]]:
    db = services_of(request).db
    organization = await find_organization(db, request.match_info["organization"])
    if not request[ACTOR].owner:
        raise not_found()
    statuses = [word for word in request.query.get("status", "").split(",") if word] or None
    if statuses is not None and not set(statuses) <= set(_STATUSES):
        problem = ("status", f"must be some of {', '.join(_STATUSES)}")
        raise ApiError(400, "Invalid query parameters.", validations=[problem])
    limit, _ = page(request)
    initiator = as_uuid(request.query.get("initiator", ""))
    found = [as_uuid(word) for word in request.query.get("ids", "").split(",") if word]
    ids = ids or [item for item in found if item is not None] or None
    rows = await db.rows(_JOBS_SQL, organization["id"], _stale(request), ids, statuses, initiator, limit or _PAGE)
    return [_job_view(row) for row in rows]


async def list_jobs(request: web.Request) -> web.Response:
    """List an organization's jobs, newest first."""
    return answer(await _jobs(request, None))


async def one_job(request: web.Request) -> web.Response:
    """Give one job of an organization."""
    found = await _jobs(request, [path_uuid(request, "job")])
    if not found:
        raise not_found()
    return answer(found[0])


def _status(row: Row) -> str:
    if not row["alive"]:
        return "offline"
    return "busy" if row["job_id"] else "idle"


async def list_daemons(request: web.Request) -> web.Response:
    """List the daemons that ever registered; those that are no longer heard of are offline."""
    db = services_of(request).db
    organization = await find_organization(db, request.match_info["organization"])
    limit, _ = page(request)
    daemons = []
    for row in await db.rows(_DAEMONS_SQL, organization["id"], _stale(request), limit or _PAGE):
        daemon = {
            "id": str(row["id"]),
            "organization_id": str(row["organization_id"]),
            "key_id": str(UUID(int=1)),  # codersdk/provisionerdaemons.go: what is built in has no key
            "key_name": "built-in",
            "created_at": stamp(row["created_at"]),
            "last_seen_at": stamp(row["last_seen_at"]),
            "name": row["name"],
            "version": row["version"],
            "api_version": row["api_version"],
            "provisioners": row["provisioners"],
            "tags": json.loads(row["tags"]),
            "status": _status(row),
            "current_job": {"id": str(row["job_id"]), "status": row["job_status"]} if row["job_id"] else None,
            "previous_job": {"id": str(row["last_id"]), "status": row["last_status"]} if row["last_id"] else None,
        }
        daemons.append(daemon)
    return answer(daemons)


async def _cancel(db: Database, job_id: UUID, expected: str, ended: int) -> None:
    """Mark a job as canceled: a pending one is over at once, a running one when its daemon hears of it."""

    async def within(conn: Conn) -> None:
        job = await conn.fetchrow("SELECT * FROM provisioner_jobs WHERE id = $1 FOR UPDATE", job_id)
        if job is None:
            raise not_found()
        if job["completed_at"] is not None:
            raise ApiError(ended, "Job has already completed!")
        if job["canceled_at"] is not None:
            raise ApiError(ended, "Job has already been marked as canceled!")
        if expected and job["job_status"] != expected:
            raise ApiError(412, "Job is not in the expected state.")
        await conn.fetchrow(_CANCEL_SQL, job_id)

    async with db.transaction() as conn:
        await within(conn)


async def _build(request: web.Request) -> Row:
    """Find the job and the owner of the build that a path names."""
    row = await services_of(request).db.row(
        "SELECT b.job_id, w.owner_id FROM workspace_builds b JOIN workspaces w ON w.id = b.workspace_id WHERE b.id = $1",
        path_uuid(request, "workspacebuild"),
    )
    return _visible(request[ACTOR], row)


def _visible(actor: Actor, row: Row | None) -> Row:
    if row is None or not actor.may_see(row["owner_id"]):
        raise not_found()
    return row


async def cancel_build(request: web.Request) -> web.Response:
    """Cancel a build; with ``expect_status`` only if it is pending, or running, just then."""
    expected = request.query.get("expect_status", "")
    if expected not in {"", "pending", "running"}:
        raise ApiError(400, f"Invalid expect_status \"{expected}\". Only 'running' or 'pending' are allowed.")
    await _cancel(services_of(request).db, (await _build(request))["job_id"], expected, 400)
    return message("Job has been marked as canceled...")


async def cancel_version(request: web.Request) -> web.Response:
    """Cancel the import of a template version; 412 when it is over (unverified)."""
    db = services_of(request).db
    statement = "SELECT job_id FROM template_versions WHERE id = $1"
    job_id = await db.value(statement, path_uuid(request, "templateversion"))
    if job_id is None:
        raise not_found()
    await _cancel(db, job_id, "", 412)
    return message("Job has been marked as canceled...")


async def _timings(request: web.Request, job_id: UUID) -> web.Response:
    statement = "SELECT * FROM provisioner_job_timings WHERE job_id = $1 ORDER BY started_at"
    rows = await services_of(request).db.rows(statement, job_id)
    timings = [
        {
            "job_id": str(row["job_id"]),
            "started_at": stamp(row["started_at"]),
            "ended_at": stamp(row["ended_at"]),
            **{name: row[name] for name in ("stage", "source", "action", "resource")},
        }
        for row in rows
    ]
    return answer({"provisioner_timings": timings, "agent_script_timings": [], "agent_connection_timings": []})


async def build_timings(request: web.Request) -> web.Response:
    """Say how long the stages of a build took; without agents there are no others."""
    return await _timings(request, (await _build(request))["job_id"])


async def workspace_timings(request: web.Request) -> web.Response:
    """Say how long the stages of a workspace's newest build took."""
    row = await services_of(request).db.row(
        "SELECT b.job_id, w.owner_id FROM workspaces w JOIN workspace_builds b ON b.workspace_id = w.id WHERE w.id = $1 "
        "ORDER BY b.build_number DESC LIMIT 1",
        path_uuid(request, "workspace"),
    )
    return await _timings(request, _visible(request[ACTOR], row)["job_id"])


ROUTES = (
    Route("GET", "/organizations/{organization}/provisionerjobs", list_jobs),
    Route("GET", "/organizations/{organization}/provisionerjobs/{job}", one_job),
    Route("GET", "/organizations/{organization}/provisionerdaemons", list_daemons),
    Route("PATCH", "/workspacebuilds/{workspacebuild}/cancel", cancel_build),
    Route("PATCH", "/templateversions/{templateversion}/cancel", cancel_version, Access.OWNER),
    Route("GET", "/workspacebuilds/{workspacebuild}/timings", build_timings),
    Route("GET", "/workspaces/{workspace}/timings", workspace_timings),
)
