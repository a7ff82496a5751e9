"""Server-sent events, the older form of a watch (coderd/httpapi/httpapi.go ServerSentEventSender)."""

import asyncio
import json
from typing import Any

from aiohttp import web

from standin.feeds import CLOSED, Close, Feed, UnsentError
from standin.sockets import Sockets

_WRITE_SECONDS = 10.0  # wall seconds, as for WebSockets
_HEADERS = {"Content-Type": "text/event-stream", "Cache-Control": "no-cache", "X-Accel-Buffering": "no"}


async def serve_events(sockets: Sockets, request: web.Request, feed: Feed) -> web.StreamResponse:
    """Answer 200 and let the feed speak until either side ends; it sends ``{"type", "data"}`` as a socket's does.

    A ping event goes out every 15 s (server time), and is what notices a client that has gone.
    """
    response = web.StreamResponse(headers=_HEADERS)
    await sockets.ready()
    await response.prepare(request)
    one_at_a_time = asyncio.Lock()

    async def write(text: str) -> None:
        try:
            async with asyncio.timeout(_WRITE_SECONDS), one_at_a_time:
                await response.write(text.encode())
        except (OSError, RuntimeError, TimeoutError) as error:
            raise UnsentError from error

    async def send(value: Any) -> None:
        data = "" if value["data"] is None else f"data: {json.dumps(value['data'], separators=(',', ':'))}\n"
        await write(f"event: {value['type']}\n{data}\n")

    async def beat() -> Close:
        try:
            while True:
                await asyncio.sleep(sockets.ping)
                await write("event: ping\n\n")
        except UnsentError:
            return CLOSED

    async def talk() -> None:
        await feed.run(send, beat)

    await sockets.run(request, feed, talk)
    return response
