"""Log lines of builds and imports: all at once, or followed to their end (coderd/provisionerjobs.go)."""

import json
from typing import Any
from uuid import UUID

from aiohttp import web

from standin.auth import ACTOR
from standin.body import path_uuid
from standin.db import Row
from standin.errors import DATABASE_ERRORS, ApiError, not_found
from standin.feeds import Close, Feed, Send
from standin.log import one_line
from standin.pubsub import logs_channel
from standin.routing import Route, answer
from standin.services import services_of
from standin.trips import message_of
from standin.views import stamp

_ENDED = frozenset({"succeeded", "failed", "canceled"})
_LINES_SQL = "SELECT * FROM provisioner_job_logs WHERE job_id = $1 AND id > $2 ORDER BY id"
_DONE: Close = (1000, "done")
_LOST = "dropped or corrupted notification"


def _view(row: Row) -> dict[str, Any]:
    return {
        "id": row["id"],
        "created_at": stamp(row["created_at"]),
        "log_source": row["source"],
        "log_level": row["level"],
        "stage": row["stage"],
        "output": row["output"],
    }


def _after(request: web.Request) -> int:
    text = request.query.get("after", "")
    if not text:
        return 0
    try:
        return int(text)
    except ValueError:
        problem = ("after", "Must be an integer")
        raise ApiError(400, 'Query param "after" must be an integer.', validations=[problem]) from None


async def _logs(request: web.Request, job_id: UUID, status: str) -> web.StreamResponse:
    """Answer with the lines after ``after``; with ``follow`` as a socket that closes with 1000 at their end."""
    services, after = services_of(request), _after(request)
    if "follow" not in request.query:
        return answer([_view(row) for row in await services.db.rows(_LINES_SQL, job_id, after)])
    channel = logs_channel(job_id)
    opened, ended, over = False, status in _ENDED, False

    def on_message(payload: str) -> None:
        nonlocal over
        over = over or json.loads(payload)["end_of_logs"]
        feed.poke()

    def on_loss() -> None:
        """Messages may have been missed, the last one among them, so the client shall find another replica."""
        feed.end((1011, _LOST))

    async def lines(send: Send) -> None:
        nonlocal after
        async with message_of("event of followed logs", services.db):
            rows = await services.db.rows(_LINES_SQL, job_id, after)
        for row in rows:
            await send(_view(row))
            after = row["id"]

    async def pump(send: Send) -> Close | None:
        nonlocal opened, ended
        try:
            if not opened and not ended:
                await services.pubsub.subscribe(channel, on_message, on_loss)
                found = "SELECT job_status FROM provisioner_jobs WHERE id = $1"
                ended = await services.db.value(found, job_id) in _ENDED
            opened = True
            await lines(send)
        except DATABASE_ERRORS as error:
            return 1011, one_line(error)[:120]
        return _DONE if ended or over else None

    feed = Feed(pump, _DONE)
    try:
        return await services.sockets.serve(request, feed)
    finally:
        await services.pubsub.unsubscribe(channel, on_message)


async def build_logs(request: web.Request) -> web.StreamResponse:
    """Give the lines of a workspace build."""
    build_id = path_uuid(request, "workspacebuild")
    row = await services_of(request).db.row(
        "SELECT b.job_id, w.owner_id, j.job_status FROM workspace_builds b JOIN workspaces w ON w.id = b.workspace_id "
        "JOIN provisioner_jobs j ON j.id = b.job_id WHERE b.id = $1",
        build_id,
    )
    if row is None or not request[ACTOR].may_see(row["owner_id"]):
        raise not_found()
    return await _logs(request, row["job_id"], row["job_status"])


async def version_logs(request: web.Request) -> web.StreamResponse:
    """Give the lines of the import of a template version."""
    row = await services_of(request).db.row(
        "SELECT v.job_id, j.job_status FROM template_versions v JOIN provisioner_jobs j ON j.id = v.job_id WHERE v.id = $1",
        path_uuid(request, "templateversion"),
    )
    if row is None:
        raise not_found()
    return await _logs(request, row["job_id"], row["job_status"])


ROUTES = (
    Route("GET", "/workspacebuilds/{workspacebuild}/logs", build_logs),
    Route("GET", "/templateversions/{templateversion}/logs", version_logs),
)
