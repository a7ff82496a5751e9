"""Requests to the keeper and their replies, on a plain asyncio loop."""

from __future__ import annotations

import asyncio
from itertools import count
from typing import TYPE_CHECKING, Any

from harness.errors import HarnessError, KeeperLost, StackError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from harness.safety.wire import Channel

CALL_TIMEOUT_S = 10.0
Message = dict[str, Any]


class Calls:
    """The harness's end of the channel. `lost` is set once the keeper is gone; `happened` is given its events."""

    def __init__(self, channel: Channel, keeper: str, happened: Callable[[Message], None]) -> None:
        self.lost = asyncio.Event()
        self._channel = channel
        self._keeper = keeper
        self._happened = happened
        self._ids = count(1)
        self._pending: dict[int, asyncio.Future[Message | None]] = {}
        self._fd = channel.fileno()
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._fd, self._readable)

    async def ask(self, op: str, *, fds: Sequence[int] = (), within_s: float = CALL_TIMEOUT_S, **args: Any) -> Message:
        """Send a request and wait for its reply.

        Raises KeeperLost if the keeper is gone or late, StackError with its reason if it could not, HarnessError if
        the request is too large.
        """
        asked = f"{op} {args.get('name') or args.get('fault') or args.get('path') or ''}".strip()
        if self.lost.is_set():
            raise KeeperLost(f"the keeper {self._keeper} is gone; it was asked to {asked}")
        number = next(self._ids)
        answer: asyncio.Future[Message | None] = self._loop.create_future()
        self._pending[number] = answer
        try:
            async with asyncio.timeout(within_s):
                self._put({"id": number, "op": op, **args}, fds)
                reply = await answer
        except TimeoutError as error:
            raise KeeperLost(f"the keeper {self._keeper} did not {asked} within {within_s:g} s") from error
        finally:
            del self._pending[number]
        if reply is None:
            raise KeeperLost(f"the keeper {self._keeper} died while it was asked to {asked}")
        if not reply["ok"]:
            raise StackError(f"the keeper could not {asked}: {reply['error']}")
        return reply

    def close(self) -> None:
        """Close the channel; everyone who waits, and every later call, gets KeeperLost. May be repeated."""
        if not self.lost.is_set():
            self._lose()
        self._channel.close()

    def _put(self, message: Message, fds: Sequence[int]) -> None:
        try:
            self._channel.put(message, fds)
        except ValueError as error:
            raise HarnessError(f"the keeper cannot be asked to {message['op']}: {error}") from error
        if self._channel.backlog:
            self._loop.add_writer(self._fd, self._writable)

    def _writable(self) -> None:
        self._channel.flush()
        if not self._channel.backlog:
            self._loop.remove_writer(self._fd)

    def _readable(self) -> None:
        try:
            while True:
                self._take(self._channel.get()[0])
        except BlockingIOError:
            return
        except EOFError:
            self._lose()

    def _take(self, message: Message) -> None:
        if "ev" in message:
            self._happened(message)
            return
        answer = self._pending.get(message["id"])
        if answer is not None and not answer.done():
            answer.set_result(message)

    def _lose(self) -> None:
        self.lost.set()
        self._loop.remove_reader(self._fd)
        self._loop.remove_writer(self._fd)
        for answer in self._pending.values():
            if not answer.done():
                answer.set_result(None)
