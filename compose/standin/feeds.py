"""What one open stream has to say: nothing most of the time, so it costs no task while it is silent."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import WSCloseCode

from standin.log import LOG, one_line

Send = Callable[[Any], Awaitable[None]]
"""Sends one JSON value to the client; raises UnsentError when the network does not take it in time."""

Close = tuple[int, str]
"""A WebSocket close code and its reason. A stream of server-sent events just ends."""

Pump = Callable[[Send], Awaitable[Close | None]]
"""Says the next thing, and how to close the stream when it was the last one. Its first call opens the stream."""

CLOSED: Close = (WSCloseCode.OK, "Connection closed")
UNSENT: Close = (WSCloseCode.INTERNAL_ERROR, "Unable to send newest message")
CUT: Close = (0, "")
"""No close frame: the connection is dropped."""

_BUFFER = 2048  # messages per subscriber, coderd/database/pubsub/pubsub.go


class UnsentError(Exception):
    """A frame could not be handed to the network in time."""


class Feed:
    """The sending side of one stream. ``poke`` asks for one more thing to be said, ``end`` for its end.

    What is asked for is said in order, by a task that lives only as long as there is something to say.
    """

    def __init__(self, pump: Pump, goodbye: Close = CLOSED) -> None:
        self.goodbye = goodbye
        self._pump = pump
        self._due = 0
        self._send: Send | None = None
        self._pumping: asyncio.Task[None] | None = None
        self._reader: asyncio.Task[Any] | None = None
        self._verdict: Close | None = None

    def poke(self) -> None:
        """Have the pump called once more; what exceeds the buffer is lost, as in Coder."""
        self._due = min(self._due + 1, _BUFFER)
        if self._pumping is None and self._send is not None:
            self._pumping = asyncio.create_task(self._say())

    def end(self, close: Close) -> None:
        """Close the stream; the first one to say how is heard."""
        if self._verdict is None:
            self._verdict = close
            if self._reader is not None:
                self._reader.cancel()

    @property
    def was_cut(self) -> bool:
        """Whether the stream ended without a word of either side."""
        return self._verdict in {None, CUT}

    async def run(self, send: Send, listen: Callable[[], Awaitable[Close]]) -> Close:
        """Speak and listen until either side ends the stream, and give how it is to be closed."""
        self._send, self._reader = send, asyncio.current_task()
        self.poke()
        try:
            verdict = await listen()
        except asyncio.CancelledError:
            if self._verdict is None or self._reader is None or self._reader.uncancel():
                raise
        else:
            self._verdict = self._verdict or verdict
        finally:
            self._reader = self._send = None
            if self._pumping is not None:
                self._pumping.cancel()
                await asyncio.gather(self._pumping, return_exceptions=True)
        return self._verdict

    async def _say(self) -> None:
        try:
            while self._due and self._send is not None:
                self._due -= 1
                close = await self._pump(self._send)
                if close is not None:
                    self.end(close)
                    return
        except UnsentError:
            self.end(UNSENT)
        except Exception as error:  # noqa: BLE001 - a failure must not become an HTTP answer on an open stream
            LOG.error("stream failed: %s", one_line(error))
            self.end(UNSENT)
        finally:
            self._pumping = None
