"""What can be changed about a workspace without a build (coderd/workspaces.go)."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

from aiohttp import web

from standin import views
from standin.audit_log import ENTRY, Entry
from standin.auth import ACTOR
from standin.body import Body, path_uuid
from standin.db import Row
from standin.errors import ApiError
from standin.provisioner_sql import CHANGED
from standin.routing import Route, answer, message
from standin.services import services_of
from standin.workspaces import check_ttl, read_workspace

_CRON = re.compile(r"(CRON_TZ=\S+ )?[\d*/,-]+ [\d*/,-]+ \* \* ([\d*,-]+|[A-Za-z,-]+)")
_EARLIEST = timedelta(minutes=30)  # coderd/workspaces.go: a new deadline must be so far ahead
_TOLD = f"pg_notify('workspace_owner:' || w.owner_id, {CHANGED})"


async def _workspace(request: web.Request) -> Row:
    return await read_workspace(services_of(request).db, request[ACTOR], path_uuid(request, "workspace"))


async def _change(request: web.Request, row: Row, column: str, value: Any) -> None:
    """Set one column, tell the watchers, and leave an entry for the audit log."""
    statement = f"UPDATE workspaces w SET {column} = $2, updated_at = now() WHERE w.id = $1 RETURNING {_TOLD}"  # noqa: S608
    await services_of(request).db.value(statement, row["w_id"], value)
    old, new = row[f"w_{column}"], value
    request[ENTRY] = Entry(
        "write",
        "workspace",
        row["w_id"],
        row["w_name"],
        {column: None if new is None else str(new)},
        {column: None if old is None else str(old)},
        organization=row["w_organization_id"],
    )


async def set_autostart(request: web.Request) -> web.Response:
    """Set or, with nothing, take away the autostart schedule; 204."""
    row, body = await _workspace(request), await Body.read(request)
    schedule = body.text("schedule") or None
    if schedule is not None and not _CRON.fullmatch(schedule):
        problem = ("schedule", "expected schedule to consist of 5 fields with an optional CRON_TZ=<timezone> prefix")
        raise ApiError(400, "Invalid autostart schedule.", validations=[problem])
    await _change(request, row, "autostart_schedule", schedule)
    return web.Response(status=204)


async def set_ttl(request: web.Request) -> web.Response:
    """Set or, with null, take away the time until a started workspace stops; 204."""
    row, body = await _workspace(request), await Body.read(request)
    ttl = body.integer("ttl_ms")
    check_ttl(ttl)
    await _change(request, row, "ttl_ms", ttl if ttl is None else ttl // 60_000 * 60_000)  # whole minutes
    return web.Response(status=204)


async def set_auto_updates(request: web.Request) -> web.Response:
    """Choose whether an autostart updates the workspace; 204."""
    row, body = await _workspace(request), await Body.read(request)
    updates = body.text("automatic_updates")
    if updates not in {"always", "never"}:
        raise ApiError(400, "Invalid request", validations=[("automatic_updates", "must be always or never")])
    await _change(request, row, "automatic_updates", updates)
    return web.Response(status=204)


async def set_favorite(request: web.Request) -> web.Response:
    """Make a workspace of one's own a favorite, or with DELETE no longer; 204."""
    row = await _workspace(request)
    wanted = request.method == "PUT"
    if row["w_owner_id"] != request[ACTOR].id:
        raise ApiError(403, f"You can only {'' if wanted else 'un-'}favorite workspaces that you own.")
    await _change(request, row, "favorite", wanted)
    return web.Response(status=204)


async def set_dormant(request: web.Request) -> web.Response:
    """Put a workspace to sleep or wake it; 304 when it is so already."""
    row, body = await _workspace(request), await Body.read(request)
    wanted = bool(body.data.get("dormant"))
    if wanted == (row["w_dormant_at"] is not None):
        return web.Response(status=304)
    await _change(request, row, "dormant_at", datetime.now(UTC) if wanted else None)
    return answer(views.workspace(await _workspace(request)))


async def extend(request: web.Request) -> web.Response:
    """Move the moment at which a running workspace stops, to at least 30 minutes from now."""
    row, body = await _workspace(request), await Body.read(request)
    text = body.text("deadline", required=True)
    body.check()
    try:
        deadline = datetime.fromisoformat(text)
    except ValueError as error:
        raise ApiError(400, "Request body must be valid JSON.", str(error)) from None
    if deadline.tzinfo is None or deadline < datetime.now(UTC) + _EARLIEST:
        problem = ("deadline", "new deadline must be at least 30 minutes in the future")
        raise ApiError(400, "Cannot extend workspace.", validations=[problem])
    if row["build_status"] != "running":
        raise ApiError(409, f"Workspace must be started, current status: {row['build_status']}")
    statement = (
        "WITH b AS (UPDATE workspace_builds SET deadline = $2, updated_at = now() WHERE id = $1 RETURNING workspace_id) "  # noqa: S608
        f"SELECT {_TOLD} FROM workspaces w JOIN b ON b.workspace_id = w.id"
    )
    await services_of(request).db.value(statement, row["id"], deadline)
    return message(f"Deadline updated to {text}.")


async def note_use(request: web.Request) -> web.Response:
    """Note that somebody uses the workspace; 204. The command line does so once a minute."""
    row = await _workspace(request)
    if await request.read():
        body = await Body.read(request)
        if bool(body.uuid("agent_id")) != bool(body.text("app_name")):
            problem = ("agent_id", "must be set together with app_name")
            raise ApiError(400, "Invalid request", validations=[problem])
    statement = "UPDATE workspaces SET last_used_at = now() WHERE id = $1"
    await services_of(request).db.value(statement, row["w_id"])
    return web.Response(status=204)


async def resolve_autostart(request: web.Request) -> web.Response:
    """Say whether an autostart could not choose its parameters; the stand-in's templates have none."""
    await _workspace(request)
    return answer({"parameter_mismatch": False})


async def port_share(request: web.Request) -> web.Response:
    """List shared ports: none, for there are no agents."""
    await _workspace(request)
    return answer({"shares": []})


ROUTES = (
    Route("PUT", "/workspaces/{workspace}/autostart", set_autostart),
    Route("PUT", "/workspaces/{workspace}/ttl", set_ttl),
    Route("PUT", "/workspaces/{workspace}/autoupdates", set_auto_updates),
    Route("PUT", "/workspaces/{workspace}/favorite", set_favorite),
    Route("DELETE", "/workspaces/{workspace}/favorite", set_favorite),
    Route("PUT", "/workspaces/{workspace}/dormant", set_dormant),
    Route("PUT", "/workspaces/{workspace}/extend", extend),
    Route("POST", "/workspaces/{workspace}/usage", note_use),
    Route("GET", "/workspaces/{workspace}/resolve-autostart", resolve_autostart),
    Route("GET", "/workspaces/{workspace}/port-share", port_share),
)
