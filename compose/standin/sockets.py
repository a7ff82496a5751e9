"""WebSockets: pings, the one-way rule and close codes (coderd/httpapi/websocket.go, coderd/httpapi/httpapi.go).

A silent socket is one task, that of its HTTP connection, and two timers: thousands fit into one replica.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import WSCloseCode, WSMessage, WSMsgType, web

from standin.clock import Clock
from standin.cuts import Cuts
from standin.feeds import CLOSED, CUT, Close, Feed, UnsentError

OnData = Callable[[web.WebSocketResponse, WSMessage], Awaitable[None]]
"""Takes one data frame of the client."""

_PING = 15.0  # server seconds, coderd/httpapi/websocket.go HeartbeatInterval
_PONG_MIN = 5.0  # wall seconds: a pong depends on the client, which does not scale
_WRITE_SECONDS = 10.0  # wall seconds, coderd/httpapi/httpapi.go
_GOODBYE_SECONDS = 1.0  # wall seconds for the peer's answer to a close frame
_LARGEST = 32_768  # bytes per message that Coder's library reads; beyond that it closes with 1009
_PING_FRAME = b"\x89\x00"  # RFC 6455: final, opcode 9, unmasked, empty. Written as is, it waits for no slow client

_SILENT: Close = (WSCloseCode.GOING_AWAY, "Ping failed")
_TALKED: Close = (WSCloseCode.PROTOCOL_ERROR, "Clients cannot send messages for one-way WebSockets")

_DATA = {WSMsgType.TEXT, WSMsgType.BINARY}
_END = {WSMsgType.CLOSE, WSMsgType.CLOSING, WSMsgType.CLOSED, WSMsgType.ERROR}


class Sockets:
    """Every stream of the replica, so that a shutdown can close them all."""

    def __init__(self, clock: Clock, ready: Callable[[], Awaitable[None]]) -> None:
        self.ping = clock.server(_PING)
        self.ready = ready
        """To be awaited before a stream opens."""
        self.cuts = Cuts()
        self._stopping = False
        self._live: dict[asyncio.Future[None], tuple[Feed, object]] = {}

    def connections(self) -> set[object]:
        """Give the HTTP connections that have become streams, as the HTTP server knows them."""
        return {protocol for _, protocol in self._live.values()}

    async def close_all(self) -> None:
        """Close every stream as it wants to be closed, most with 1000, and wait until they are gone."""
        self._stopping = True
        for feed, _ in tuple(self._live.values()):
            feed.end(feed.goodbye)
        if self._live:
            await asyncio.wait(self._live, timeout=2 * _GOODBYE_SECONDS)

    async def run(self, request: web.Request, feed: Feed, talk: Callable[[], Awaitable[None]]) -> None:
        """Keep a stream in the list for as long as ``talk`` runs."""
        gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._live[gone] = feed, request.protocol
        if self._stopping:
            feed.end(feed.goodbye)
        try:
            await talk()
        finally:
            del self._live[gone]
            gone.set_result(None)

    async def serve(
        self, request: web.Request, feed: Feed, on_data: OnData | None = None, *, patience: float | None = None
    ) -> web.WebSocketResponse:
        """Upgrade, let the feed speak until either side ends, close.

        Without ``on_data`` the socket is one-way: a data frame of the client closes it with 1002. ``patience`` replaces
        the server's pings: the connection is cut when the client sends no data frame for so many wall seconds.
        """
        socket = web.WebSocketResponse(
            autoping=False, compress=False, timeout=_GOODBYE_SECONDS, max_msg_size=_LARGEST, writer_limit=2**16
        )
        await self.ready()
        await socket.prepare(request)

        async def send(value: Any) -> None:
            try:
                async with asyncio.timeout(_WRITE_SECONDS):
                    await socket.send_str(json.dumps(value, separators=(",", ":")))
            except (OSError, RuntimeError, TimeoutError) as error:
                raise UnsentError from error

        async def talk() -> None:
            watch = _Beat(request, feed, self.ping) if patience is None else _Patience(feed, patience)
            try:
                code, reason = await feed.run(send, lambda: _listen(socket, watch, on_data))
            finally:
                watch.stop()
            if (code, reason) == CUT and request.transport is not None:
                request.transport.abort()
            else:
                await socket.close(code=code, message=reason.encode())

        await self.run(request, feed, talk)
        return socket


class _Patience:
    """Cuts a socket whose client says nothing for a while."""

    def __init__(self, feed: Feed, seconds: float) -> None:
        self._feed = feed
        self._seconds = seconds
        self._timer = self._start()

    def _start(self) -> asyncio.TimerHandle:
        return asyncio.get_running_loop().call_later(self._seconds, self._feed.end, CUT)

    def heard(self, kind: WSMsgType) -> None:
        if kind in _DATA:
            self._timer.cancel()
            self._timer = self._start()

    def stop(self) -> None:
        self._timer.cancel()


class _Beat:
    """Sends a protocol ping every 15 s; ends the socket when one is not answered in time."""

    def __init__(self, request: web.Request, feed: Feed, every: float) -> None:
        self._request = request
        self._feed = feed
        self._every = every
        self._loop = asyncio.get_running_loop()
        self._waiting = False
        self._timer = self._loop.call_later(every, self._ping)

    def _ping(self) -> None:
        transport = self._request.transport
        if transport is None or transport.is_closing():
            self._feed.end(_SILENT)
            return
        transport.write(_PING_FRAME)
        self._waiting = True
        self._timer = self._loop.call_later(max(self._every, _PONG_MIN), self._feed.end, _SILENT)

    def heard(self, kind: WSMsgType) -> None:
        if kind is WSMsgType.PONG and self._waiting:
            self._waiting = False
            self._timer.cancel()
            self._timer = self._loop.call_later(self._every, self._ping)

    def stop(self) -> None:
        self._timer.cancel()


async def _listen(socket: web.WebSocketResponse, watch: _Beat | _Patience, on_data: OnData | None) -> Close:
    """Read frames until the client ends, or breaks the one-way rule."""
    while True:
        message = await socket.receive()
        watch.heard(message.type)
        if message.type is WSMsgType.PING:
            await socket.pong(message.data)
        elif message.type in _END:
            return CLOSED if message.type is WSMsgType.CLOSE else CUT
        elif message.type in _DATA:
            if on_data is None:
                return _TALKED
            await on_data(socket, message)
