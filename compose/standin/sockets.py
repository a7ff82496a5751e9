"""WebSockets: pings, the one-way rule and close codes (coderd/httpapi/websocket.go, coderd/httpapi/httpapi.go)."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import WSCloseCode, WSMessage, WSMsgType, web

from standin.clock import Clock
from standin.log import LOG, one_line

Send = Callable[[Any], Awaitable[None]]
"""Sends one JSON value as a text frame."""

Close = tuple[int, str]
"""A close code and its reason."""

_PING = 15.0  # server seconds, coderd/httpapi/websocket.go HeartbeatInterval
_PONG_MIN = 5.0  # wall seconds: a pong depends on the client, which does not scale
_WRITE_SECONDS = 10.0  # wall seconds, coderd/httpapi/httpapi.go
_GOODBYE_SECONDS = 1.0  # wall seconds for the peer's answer to a close frame

CLOSED: Close = (WSCloseCode.OK, "Connection closed")
_UNSENT: Close = (WSCloseCode.INTERNAL_ERROR, "Unable to send newest message")
_SILENT: Close = (WSCloseCode.GOING_AWAY, "Ping failed")
_TALKED: Close = (WSCloseCode.PROTOCOL_ERROR, "Unexpected message from client")

_DATA = {WSMsgType.TEXT, WSMsgType.BINARY}
_END = {WSMsgType.CLOSE, WSMsgType.CLOSING, WSMsgType.CLOSED, WSMsgType.ERROR}


class _UnsentError(Exception):
    """A frame could not be handed to the network in time."""


class Sockets:
    """Every WebSocket of the replica, so that a shutdown can close them all with 1000."""

    def __init__(self, clock: Clock) -> None:
        self._ping = clock.server(_PING)
        self._stopping = asyncio.Event()
        self._live: dict[asyncio.Future[None], object] = {}

    def connections(self) -> set[object]:
        """Give the HTTP connections that have become WebSockets, as the HTTP server knows them."""
        return set(self._live.values())

    async def close_all(self) -> None:
        """Close every socket with 1000 "Connection closed" and wait until they are gone."""
        self._stopping.set()
        if self._live:
            await asyncio.wait(self._live, timeout=2 * _GOODBYE_SECONDS)

    async def serve(
        self,
        request: web.Request,
        talk: Callable[[Send], Awaitable[None]],
        on_data: Callable[[web.WebSocketResponse, WSMessage], Awaitable[None]] | None = None,
    ) -> web.WebSocketResponse:
        """Upgrade, run ``talk`` until either side ends, close.

        Without ``on_data`` the socket is one-way: a data frame of the client closes it with 1002.
        """
        socket = web.WebSocketResponse(autoping=False, compress=False, timeout=_GOODBYE_SECONDS)
        await socket.prepare(request)

        async def send(value: Any) -> None:
            try:
                async with asyncio.timeout(_WRITE_SECONDS):
                    await socket.send_str(json.dumps(value, separators=(",", ":")))
            except (OSError, RuntimeError, TimeoutError) as error:
                raise _UnsentError from error

        async def speak() -> Close:
            try:
                await talk(send)
            except _UnsentError:
                return _UNSENT
            return CLOSED

        async def stop() -> Close:
            await self._stopping.wait()
            return CLOSED

        pong = asyncio.Event()
        parts = [
            asyncio.create_task(speak()),
            asyncio.create_task(_listen(socket, pong, on_data)),
            asyncio.create_task(self._beat(socket, pong)),
            asyncio.create_task(stop()),
        ]
        gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._live[gone] = request.protocol
        try:
            done, _ = await asyncio.wait(parts, return_when=asyncio.FIRST_COMPLETED)
            await _end(parts)
            code, reason = _outcome(next(part for part in parts if part in done))
            await socket.close(code=code, message=reason.encode())
        finally:
            await _end(parts)
            del self._live[gone]
            gone.set_result(None)
        return socket

    async def _beat(self, socket: web.WebSocketResponse, pong: asyncio.Event) -> Close:
        """Send a protocol ping every 15 s; end when one is not answered in time."""
        while True:
            await asyncio.sleep(self._ping)
            pong.clear()
            try:
                await socket.ping()
                async with asyncio.timeout(max(self._ping, _PONG_MIN)):
                    await pong.wait()
            except (OSError, RuntimeError, TimeoutError):
                return _SILENT


def _outcome(part: asyncio.Task[Close]) -> Close:
    """Give how a part wants the socket closed; a failure must not become an HTTP answer on an open socket."""
    error = part.exception()
    if error is None:
        return part.result()
    LOG.error("websocket failed: %s", one_line(error))
    return _UNSENT


async def _end(parts: list[asyncio.Task[Close]]) -> None:
    for part in parts:
        part.cancel()
    await asyncio.gather(*parts, return_exceptions=True)


async def _listen(
    socket: web.WebSocketResponse,
    pong: asyncio.Event,
    on_data: Callable[[web.WebSocketResponse, WSMessage], Awaitable[None]] | None,
) -> Close:
    """Read frames until the client ends, or breaks the one-way rule."""
    while True:
        message = await socket.receive()
        if message.type is WSMsgType.PONG:
            pong.set()
        elif message.type is WSMsgType.PING:
            await socket.pong(message.data)
        elif message.type in _END:
            return CLOSED
        elif message.type in _DATA:
            if on_data is None:
                return _TALKED
            await on_data(socket, message)
