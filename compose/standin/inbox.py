"""The notifications inbox (coderd/inboxnotifications.go)."""

import json
from collections import deque
from typing import Any
from uuid import UUID

from aiohttp import web

from standin.auth import ACTOR
from standin.body import Body, path_uuid
from standin.db import Row
from standin.errors import ApiError, not_found
from standin.feeds import Close, Feed, Send
from standin.lookup import as_uuid
from standin.pubsub import inbox_channel
from standin.routing import Route, answer
from standin.services import services_of
from standin.trips import message_of
from standin.views import stamp

_PAGE = 25  # coderd/database/queries/notificationsinbox.sql (unverified)
_QUEUED = 10  # coderd/inboxnotifications.go: notifications that one watcher may lag behind
_UNREAD_SQL = "SELECT count(*) FROM inbox_notifications WHERE user_id = $1 AND read_at IS NULL"
_LIST_SQL = """
SELECT * FROM inbox_notifications
WHERE user_id = $1 AND ($2 = 'all' OR ($2 = 'unread') = (read_at IS NULL))
    AND ($3::uuid[] IS NULL OR template_id = ANY ($3)) AND ($4::uuid[] IS NULL OR targets @> $4)
    AND created_at < coalesce((SELECT created_at FROM inbox_notifications WHERE id = $5), 'infinity')
ORDER BY created_at DESC LIMIT $6
"""
_READ_SQL = """
UPDATE inbox_notifications SET read_at = CASE WHEN $3 THEN now() END WHERE id = $1 AND user_id = $2 RETURNING id
"""


def _view(row: Row) -> dict[str, Any]:
    return {
        "id": str(row["id"]),
        "user_id": str(row["user_id"]),
        "template_id": str(row["template_id"]),
        "targets": [str(target) for target in row["targets"]],
        "title": row["title"],
        "content": row["content"],
        "icon": row["icon"],
        "actions": json.loads(row["actions"]),
        "read_at": stamp(row["read_at"]),
        "created_at": stamp(row["created_at"]),
    }


def _ids(request: web.Request, name: str) -> list[UUID] | None:
    """Read a comma list of UUIDs from the query; None when it is absent."""
    words = [word for word in request.query.get(name, "").split(",") if word]
    found = [as_uuid(word) for word in words]
    if None in found:
        detail = f'Query param "{name}" must be a comma separated list of UUIDs'
        raise ApiError(400, "Query parameters have invalid values.", validations=[(name, detail)])
    return [item for item in found if item is not None] or None


def _wish(request: web.Request) -> tuple[str, list[UUID] | None, list[UUID] | None]:
    """Read which notifications are wanted: read status, templates, targets."""
    status = request.query.get("read_status", "all")
    if status not in {"all", "read", "unread"}:
        raise ApiError(400, "starting_before query parameter should be any of 'all', 'read', 'unread'.")  # Coder's text
    return status, _ids(request, "templates"), _ids(request, "targets")


async def list_inbox(request: web.Request) -> web.Response:
    """List a page of notifications, newest first, and count the unread ones."""
    db, user_id = services_of(request).db, request[ACTOR].id
    before = as_uuid(request.query.get("starting_before", ""))
    rows = await db.rows(_LIST_SQL, user_id, *_wish(request), before, _PAGE)
    return answer({"notifications": [_view(row) for row in rows], "unread_count": await db.value(_UNREAD_SQL, user_id)})


async def set_read(request: web.Request) -> web.Response:
    """Mark one notification as read or unread."""
    db, user_id, notification = services_of(request).db, request[ACTOR].id, path_uuid(request, "id")
    body = await Body.read(request)
    if await db.value(_READ_SQL, notification, user_id, bool(body.data.get("is_read"))) is None:
        raise not_found()
    unread = await db.value(_UNREAD_SQL, user_id)
    row = await db.row("SELECT * FROM inbox_notifications WHERE id = $1", notification)
    if row is None:
        raise not_found()
    return answer({"notification": _view(row), "unread_count": unread})


async def read_all(request: web.Request) -> web.Response:
    """Mark everything as read; 204."""
    statement = "UPDATE inbox_notifications SET read_at = now() WHERE user_id = $1 AND read_at IS NULL"
    await services_of(request).db.value(statement, request[ACTOR].id)
    return web.Response(status=204)


async def watch_inbox(request: web.Request) -> web.StreamResponse:
    """Stream ``{"notification", "unread_count"}`` for every new notification; nothing until there is one."""
    services, user_id = services_of(request), request[ACTOR].id
    status, templates, targets = _wish(request)
    channel = inbox_channel(user_id)
    waiting: deque[dict[str, Any]] = deque()
    opened = False

    def on_message(payload: str) -> None:
        new = json.loads(payload)["inbox_notification"]
        wanted = templates is None or UUID(new["template_id"]) in templates
        wanted &= targets is None or {str(target) for target in targets} <= set(new["targets"])
        if wanted and status != "read" and len(waiting) < _QUEUED:  # what is new is unread
            waiting.append(new)
            feed.poke()

    async def pump(send: Send) -> Close | None:
        nonlocal opened
        if not opened:
            opened = True
            await services.pubsub.subscribe(channel, on_message)
            return None
        async with message_of("event of a watched inbox", services.db):
            unread = await services.db.value(_UNREAD_SQL, user_id)
        await send({"notification": waiting.popleft(), "unread_count": unread})
        return None

    feed = Feed(pump)
    try:
        return await services.sockets.serve(request, feed)
    finally:
        await services.pubsub.unsubscribe(channel, on_message)


ROUTES = (
    Route("GET", "/notifications/inbox", list_inbox),
    Route("GET", "/notifications/inbox/watch", watch_inbox),
    Route("PUT", "/notifications/inbox/mark-all-as-read", read_all),
    Route("PUT", "/notifications/inbox/{id}/read-status", set_read),
)
