"""Workspace builds (coderd/workspacebuilds.go, coderd/wsbuilder/wsbuilder.go)."""

from typing import Any
from uuid import UUID, uuid4

from aiohttp import web

from standin import views
from standin.auth import ACTOR, Actor
from standin.body import Body, page, path_uuid
from standin.db import Conn, Row
from standin.errors import ApiError, not_found
from standin.notifications import About, workspace_updated
from standin.pubsub import owner_channel
from standin.routing import Route, answer
from standin.services import services_of
from standin.templates import insert_job

_REASONS = (
    "initiator",
    "dashboard",
    "cli",
    "ssh_connection",
    "vscode_connection",
    "jetbrains_connection",
    "task_manual_pause",
    "task_resume",
)
# Keeps two posts for one workspace apart, yet lets foreign keys of other rows point at it meanwhile.
_LOCK_SQL = "SELECT FROM workspaces WHERE id = $1 FOR NO KEY UPDATE"
_NEWEST_SQL = """
SELECT w.*, u.username AS owner_name, b.build_number, b.template_version_id, j.job_status
FROM workspaces w
JOIN users u ON u.id = w.owner_id
JOIN workspace_builds b ON b.workspace_id = w.id
JOIN provisioner_jobs j ON j.id = b.job_id
WHERE w.id = $1 ORDER BY b.build_number DESC LIMIT 1
"""


async def insert_build(
    conn: Conn, workspace: Row, actor: Actor, version: Row, *, number: int, transition: str, reason: str
) -> UUID:
    """Queue one build of a workspace and tell its watchers; visible once committed."""
    build_id = uuid4()
    job_id = await insert_job(
        conn,
        "workspace_build",
        workspace["organization_id"],
        actor.id,
        version["job_file_id"],
        workspace_build_id=str(build_id),
    )
    await conn.fetchval(
        "WITH new AS (INSERT INTO workspace_builds (id, workspace_id, template_version_id, build_number, transition, "
        "initiator_id, job_id, reason) VALUES ($1, $2, $3, $4, $5, $6, $7, $8) RETURNING workspace_id) "
        "SELECT pg_notify($9, json_build_object('kind', 'state_change', 'workspace_id', workspace_id)::text) FROM new",
        build_id,
        workspace["id"],
        version["id"],
        number,
        transition,
        actor.id,
        job_id,
        reason,
        owner_channel(workspace["owner_id"]),
    )
    return build_id


async def usable_version(conn: Conn, version_id: UUID | None) -> Row:
    """Find an imported template version; 400, 404 or 406 as the workspace builder does."""
    row = await conn.fetchrow("SELECT * FROM versions_with_job WHERE id = $1", version_id)
    if row is None:
        problem = ("template_version_id", "template version not found")
        raise ApiError(400, "Template version not found.", validations=[problem])
    status = row["job_status"]
    if status in {"pending", "running"}:
        text = f"The provided template version is {status}. Wait for it to complete importing!"
        raise ApiError(406, text)
    if status != "succeeded":
        text = f'The provided template version "{row["name"]}" has failed to import: "{row["job_error"] or ""}". '
        raise ApiError(400, text + "You cannot build workspaces with it!")
    return row


def _about(row: Row) -> About:
    return About(row["id"], row["name"], row["owner_id"], row["owner_name"], row["template_id"], row["organization_id"])


async def create_build(request: web.Request) -> web.Response:
    """Queue a start, stop or delete; 409 while another build of the workspace is active."""
    services, actor = services_of(request), request[ACTOR]
    workspace_id = path_uuid(request, "workspace")
    body = await Body.read(request)
    transition = body.choice("transition", ("start", "stop", "delete"))
    version_id = body.uuid("template_version_id")
    reason = body.choice("reason", _REASONS, "initiator")
    body.check()

    updated: list[About] = []

    async def write(conn: Conn) -> dict[str, Any]:
        await conn.execute(_LOCK_SQL, workspace_id)
        workspace = await conn.fetchrow(_NEWEST_SQL, workspace_id)
        if workspace is None or workspace["deleted"] or not actor.may_see(workspace["owner_id"]):
            raise not_found()
        if workspace["job_status"] in {"pending", "running", "canceling"}:
            raise ApiError(409, "A workspace build is already active.")
        if version_id not in {None, workspace["template_version_id"]}:
            updated.append(_about(workspace))
        version = await usable_version(conn, version_id or workspace["template_version_id"])
        number = workspace["build_number"] + 1
        build_id = await insert_build(
            conn, workspace, actor, version, number=number, transition=transition, reason=reason
        )
        return views.build(await conn.fetchrow("SELECT * FROM builds_with_job WHERE id = $1", build_id))

    made = await services.acknowledger.run(write)
    for about in updated:
        await workspace_updated(services.db, about, actor.id)
    return answer(made, 201)


async def list_builds(request: web.Request) -> web.Response:
    """List a workspace's builds, newest first."""
    db, workspace_id = services_of(request).db, path_uuid(request, "workspace")
    limit, offset = page(request)
    owner = await db.value("SELECT owner_id FROM workspaces WHERE id = $1", workspace_id)
    if owner is None or not request[ACTOR].may_see(owner):
        raise not_found()
    rows = await db.rows(
        "SELECT * FROM builds_with_job WHERE workspace_id = $1 ORDER BY build_number DESC LIMIT $2 OFFSET $3",
        workspace_id,
        limit,
        offset,
    )
    return answer([views.build(row) for row in rows])


async def one_build(request: web.Request) -> web.Response:
    """Give a build by its id."""
    build_id = path_uuid(request, "workspacebuild")
    row = await services_of(request).db.row("SELECT * FROM builds_with_job WHERE id = $1", build_id)
    if row is None or not request[ACTOR].may_see(row["owner_id"]):
        raise not_found()
    return answer(views.build(row))


ROUTES = (
    Route("POST", "/workspaces/{workspace}/builds", create_build, builds=True),
    Route("GET", "/workspaces/{workspace}/builds", list_builds),
    Route("GET", "/workspacebuilds/{workspacebuild}", one_build),
)
