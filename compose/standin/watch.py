"""Watch streams: a workspace, the inbox, and the echo of the health check (coderd/workspaces.go)."""

import asyncio
import json
from typing import Any

from aiohttp import WSMessage, WSMsgType, web

from standin import views
from standin.auth import ACTOR
from standin.body import path_uuid
from standin.errors import DATABASE_ERRORS, ApiError
from standin.log import one_line
from standin.pubsub import owner_channel
from standin.routing import Access, Route
from standin.services import services_of
from standin.sockets import Send
from standin.workspaces import read_workspace

_SLOW_SNAPSHOT_SECONDS = 0.8  # wall
_FETCH_ERRORS: tuple[type[Exception], ...] = (ApiError, *DATABASE_ERRORS)
_BUFFER = 2048  # messages per subscriber, coderd/database/pubsub/pubsub.go


async def watch_workspace(request: web.Request) -> web.StreamResponse:
    """Stream ``{"type", "data"}`` frames: a ping, a snapshot, then one full workspace per event."""
    services, actor = services_of(request), request[ACTOR]
    workspace_id, bugs = path_uuid(request, "workspace"), services.settings.bugs
    channel = owner_channel((await read_workspace(services.db, actor, workspace_id))["w_owner_id"])

    async def frame() -> dict[str, Any]:
        try:
            row = await read_workspace(services.db, actor, workspace_id)
        except _FETCH_ERRORS as error:
            data = {"message": "Internal error fetching workspace.", "detail": one_line(error)}
            return {"type": "error", "data": data}
        return {"type": "data", "data": views.workspace(row)}

    async def talk(send: Send) -> None:
        events: asyncio.Queue[None] = asyncio.Queue(_BUFFER)

        def on_message(payload: str) -> None:
            if json.loads(payload)["workspace_id"] == str(workspace_id) and not events.full():
                events.put_nowait(None)

        await send({"type": "ping", "data": None})
        await services.pubsub.subscribe(channel, on_message)
        try:
            if "watch-slow-snapshot" in bugs:
                await asyncio.sleep(_SLOW_SNAPSHOT_SECONDS)
            if "watch-no-snapshot" not in bugs:
                await send(await frame())
            while True:
                await events.get()
                await send(await frame())
        finally:
            await services.pubsub.unsubscribe(channel, on_message)

    return await services.sockets.serve(request, talk)


async def _stay_silent(_send: Send) -> None:
    await asyncio.Event().wait()


async def watch_inbox(request: web.Request) -> web.StreamResponse:
    """Hold the inbox stream open; the stand-in sends no notifications."""
    return await services_of(request).sockets.serve(request, _stay_silent)


async def echo(request: web.Request) -> web.StreamResponse:
    """Send every message back."""

    async def back(socket: web.WebSocketResponse, message: WSMessage) -> None:
        if message.type is WSMsgType.TEXT:
            await socket.send_str(message.data)
        else:
            await socket.send_bytes(message.data)

    return await services_of(request).sockets.serve(request, _stay_silent, back)


ROUTES = (
    Route("GET", "/workspaces/{workspace}/watch-ws", watch_workspace),
    Route("GET", "/notifications/inbox/watch", watch_inbox),
    Route("GET", "/debug/ws", echo, Access.OWNER),
)
