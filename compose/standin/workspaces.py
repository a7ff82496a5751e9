"""Workspaces: create, list, search, read (coderd/workspaces.go, coderd/searchquery)."""

from typing import Any
from uuid import UUID, uuid4

import asyncpg
from aiohttp import web

from standin import views
from standin.audit_log import ENTRY, Entry
from standin.auth import ACTOR, Actor
from standin.body import Body, page, path_uuid, search_terms
from standin.builds import insert_build, usable_version
from standin.db import Conn, Database, Row
from standin.errors import ApiError, not_found
from standin.lookup import as_uuid, find_organization, find_user
from standin.notifications import About, workspace_created
from standin.routing import Route, answer
from standin.services import services_of
from standin.trips import CURRENT

_TTL_MIN_MS, _TTL_MAX_MS = 60_000, 30 * 24 * 3_600_000  # coderd/workspaces.go: 1 min to 30 days
_TERMS = ("owner", "name", "template", "status", "id")
_LIST_SQL = """
SELECT *, count(*) OVER () AS total FROM workspaces_with_build
WHERE NOT w_deleted AND ($1::uuid IS NULL OR w_owner_id = $1)
    AND ($2 = '' OR lower(owner_name) = lower($2))
    AND ($3 = '' OR w_name ILIKE '%' || $3 || '%')
    AND ($4 = '' OR lower(t_name) = lower($4))
    AND ($5 = '' OR build_status = $5)
    AND ($6::uuid IS NULL OR w_id = $6)
ORDER BY lower(w_name), w_id LIMIT $7 OFFSET $8
"""


async def read_workspace(db: Database, actor: Actor, workspace_id: UUID) -> Row:
    """Read a workspace with its newest build; 404 when absent or not the actor's to see."""
    row = await db.row("SELECT * FROM workspaces_with_build WHERE w_id = $1", workspace_id)
    return _visible(actor, row)


def _visible(actor: Actor, row: Row | None) -> Row:
    if row is None or not actor.may_see(row["w_owner_id"]):
        raise not_found()
    return row


def _not_gone(request: web.Request, row: Row) -> Row:
    if row["w_deleted"] and request.query.get("include_deleted") != "true":
        text = "was deleted, you can view this workspace by specifying '?deleted=true' and trying again."
        raise ApiError(410, f'Workspace "{row["w_id"]}" {text}')
    return row


def check_ttl(ttl: int | None) -> None:
    """Refuse a time until shutdown, in ms, that is too short or too long."""
    if ttl is not None and not _TTL_MIN_MS <= ttl <= _TTL_MAX_MS:
        problem = ("ttl_ms", "time until shutdown must be from one minute to 30 days")
        raise ApiError(400, "Invalid Workspace Time to Shutdown.", validations=[problem])


async def create_workspace(request: web.Request) -> web.Response:
    """Create a workspace and queue its first build."""
    services, actor = services_of(request), request[ACTOR]
    owner = await find_user(services.db, actor, request.match_info["user"])
    if "organization" in request.match_info:
        await find_organization(services.db, request.match_info["organization"])
    body = await Body.read(request)
    name, schedule, ttl = (
        body.name("name", tag="workspace_name"),
        body.text("autostart_schedule"),
        body.integer("ttl_ms"),
    )
    template_id, version_id = body.uuid("template_id"), body.uuid("template_version_id")
    updates = body.choice("automatic_updates", ("always", "never"), "never")
    if template_id is None and version_id is None:
        body.problem("template_id", "required_without")
    body.check()
    check_ttl(ttl)

    async def write(conn: Conn) -> dict[str, Any]:
        template = await _template(conn, template_id, version_id)
        version = await usable_version(conn, version_id or template["active_version_id"])
        workspace = await conn.fetchrow(
            "INSERT INTO workspaces (id, owner_id, organization_id, template_id, name, autostart_schedule, ttl_ms, "
            "automatic_updates, last_used_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, now()) RETURNING *",
            uuid4(),
            owner["id"],
            template["organization_id"],
            template["id"],
            name,
            schedule or None,
            ttl,
            updates,
        )
        await insert_build(conn, workspace, actor, version, number=1, transition="start", reason="initiator")
        return views.workspace(
            await conn.fetchrow("SELECT * FROM workspaces_with_build WHERE w_id = $1", workspace["id"]),
        )

    try:
        made = await services.acknowledger.run(write)
    except asyncpg.UniqueViolationError:
        problem = ("name", "This value is already in use and should be unique.")
        raise ApiError(409, f'Workspace "{name}" already exists.', validations=[problem]) from None
    about = about_workspace(made)
    request[ENTRY] = Entry("create", "workspace", about.id, name, {"name": name}, organization=about.organization_id)
    await workspace_created(services.db, about, actor.id)
    return answer(made, 201)


def about_workspace(made: dict[str, Any]) -> About:
    """Take what a notification says of a workspace from its shape in answers."""
    owner = UUID(made["owner_id"])
    more = UUID(made["template_id"]), UUID(made["organization_id"])
    return About(UUID(made["id"]), made["name"], owner, made["owner_name"], *more)


async def _template(conn: Conn, template_id: UUID | None, version_id: UUID | None) -> Row:
    row = await conn.fetchrow(
        "SELECT * FROM templates WHERE NOT deleted AND "
        "id = coalesce($1, (SELECT template_id FROM template_versions WHERE id = $2))",
        template_id,
        version_id,
    )
    if row is None:
        problem = ("template_id", "template not found")
        raise ApiError(400, f'Template "{template_id or version_id}" doesn\'t exist.', validations=[problem])
    return row


async def list_workspaces(request: web.Request) -> web.Response:
    """List workspaces the actor may see; ``count`` is the number of all matches."""
    db, actor = services_of(request).db, request[ACTOR]
    terms = search_terms(request.query.get("q", ""), _TERMS, "workspace", free="name")
    limit, offset = page(request)
    owner = actor.row["username"] if terms["owner"] == "me" else terms["owner"]
    workspace_id = as_uuid(terms["id"]) or (UUID(int=0) if terms["id"] else None)
    only = None if actor.owner else actor.id
    rows = await db.rows(
        _LIST_SQL, only, owner, terms["name"], terms["template"], terms["status"], workspace_id, limit, offset
    )
    count = rows[0]["total"] if rows else 0
    trips = CURRENT.get()
    if trips is not None and not rows:
        trips.follow("GET /workspaces, none found")
    return answer({"workspaces": [views.workspace(row) for row in rows], "count": count})


async def one_workspace(request: web.Request) -> web.Response:
    """Give a workspace by its id."""
    row = await read_workspace(services_of(request).db, request[ACTOR], path_uuid(request, "workspace"))
    return answer(views.workspace(_not_gone(request, row)))


async def workspace_by_name(request: web.Request) -> web.Response:
    """Give a user's workspace by its name; a deleted one only when nothing living bears the name."""
    db, actor = services_of(request).db, request[ACTOR]
    user = await find_user(db, actor, request.match_info["user"])
    row = await db.row(
        "SELECT * FROM workspaces_with_build WHERE w_owner_id = $1 AND lower(w_name) = lower($2) "
        "ORDER BY w_deleted, w_created_at DESC LIMIT 1",
        user["id"],
        request.match_info["workspacename"],
    )
    return answer(views.workspace(_not_gone(request, _visible(actor, row))))


ROUTES = (
    Route("POST", "/users/{user}/workspaces", create_workspace),
    Route("POST", "/organizations/{organization}/members/{user}/workspaces", create_workspace),
    Route("GET", "/workspaces", list_workspaces),
    Route("GET", "/workspaces/{workspace}", one_workspace),
    Route("GET", "/users/{user}/workspace/{workspacename}", workspace_by_name),
)
