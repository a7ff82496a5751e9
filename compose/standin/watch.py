"""Watch streams of a workspace, and the echo of the health check (coderd/workspaces.go, healthcheck/websocket.go)."""

import asyncio
from collections.abc import Awaitable, Callable
from collections.abc import Set as AbstractSet
from typing import Any

from aiohttp import WSMessage, WSMsgType, web

from standin import views
from standin.auth import ACTOR
from standin.body import path_uuid
from standin.errors import DATABASE_ERRORS, ApiError
from standin.feeds import Close, Feed, Send
from standin.log import one_line
from standin.pubsub import owner_channel, template_channel
from standin.routing import Access, Route
from standin.services import services_of
from standin.streams import serve_events
from standin.trips import message_of
from standin.workspaces import read_workspace

_SLOW_SNAPSHOT_SECONDS = 0.8  # wall
_FETCH_ERRORS: tuple[type[Exception], ...] = (ApiError, *DATABASE_ERRORS)
_ECHO_SECONDS = 10.0  # wall seconds, coderd/healthcheck/websocket.go: to read one message and send it back


async def watch_workspace(request: web.Request) -> web.StreamResponse:
    """Stream ``{"type", "data"}`` frames: a ping, a snapshot, then one full workspace per event."""
    services, actor = services_of(request), request[ACTOR]
    workspace_id, bugs = path_uuid(request, "workspace"), services.settings.bugs
    first = await read_workspace(services.db, actor, workspace_id)
    wishes = ((owner_channel(first["w_owner_id"]), str(workspace_id)), (template_channel(first["t_id"]), ""))
    opened = False

    async def frame() -> dict[str, Any]:
        try:
            async with message_of("event of a watched workspace", services.db):
                row = await read_workspace(services.db, actor, workspace_id)
        except _FETCH_ERRORS as error:
            data = {"message": "Internal error fetching workspace.", "detail": one_line(error)}
            return {"type": "error", "data": data}
        return {"type": "data", "data": views.workspace(row)}

    async def pump(send: Send) -> Close | None:
        nonlocal opened
        if opened:
            await send(await frame())
            return None
        opened = True
        refusal = await services.sockets.cuts.meet(bugs)
        if refusal is not None:
            return refusal
        for channel, key in wishes:
            await services.events.join(channel, key, feed.poke)
        await _begin(send, frame, bugs)
        return None

    feed = Feed(pump)
    try:
        if request.path.endswith("-ws"):
            return await services.sockets.serve(request, feed)
        return await serve_events(services.sockets, request, feed)
    finally:
        services.sockets.cuts.note(feed)
        for channel, key in wishes:
            await services.events.leave(channel, key, feed.poke)


async def _begin(send: Send, frame: Callable[[], Awaitable[Any]], bugs: AbstractSet[str]) -> None:
    await send({"type": "ping", "data": None})
    if "watch-slow-snapshot" in bugs:
        await asyncio.sleep(_SLOW_SNAPSHOT_SECONDS)
    if "watch-no-snapshot" not in bugs:
        await send(await frame())


async def _say_nothing(_send: Send) -> Close | None:
    return None


async def echo(request: web.Request) -> web.StreamResponse:
    """Send every message back; who sends none for 10 s is cut off."""

    async def back(socket: web.WebSocketResponse, message: WSMessage) -> None:
        if message.type is WSMsgType.TEXT:
            await socket.send_str(message.data)
        else:
            await socket.send_bytes(message.data)

    return await services_of(request).sockets.serve(request, Feed(_say_nothing), back, patience=_ECHO_SECONDS)


ROUTES = (
    Route("GET", "/workspaces/{workspace}/watch-ws", watch_workspace),
    Route("GET", "/workspaces/{workspace}/watch", watch_workspace, streams=True),
    Route("GET", "/debug/ws", echo, Access.OWNER),
)
