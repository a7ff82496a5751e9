"""Watch sessions: long-lived WebSockets that are dialled again after every drop, with a ledger row for each turn.

The frames are read by the sans-I/O core of `websockets`; the sockets, the clocks and the redial are ours, because no
client library tells a reset from an end of stream, nor dials when told and only then.
"""

from __future__ import annotations

import errno
import logging
from collections import deque
from time import monotonic_ns
from typing import TYPE_CHECKING, Final

from websockets.client import ClientProtocol
from websockets.exceptions import InvalidMessage, InvalidStatus
from websockets.frames import CloseCode, Frame, Opcode
from websockets.http11 import Response
from websockets.uri import WebSocketURI

from harness.probes.http_client import port_of
from harness.probes.tcp import EOF, LOCAL_ERRORS, Wire
from harness.probes.watch_frames import WatchFrame, read_frame

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop, TimerHandle
    from collections.abc import Callable

    from harness.probes.ledger import Ledger
    from harness.probes.plan import WatcherPlan
    from harness.probes.tcp import Address

_QUIET: Final = logging.getLogger("harness.probes.watchers")
_QUIET.disabled = True  # what a server does wrong is a ledger row, not a log line
_MILLI: Final = 1_000_000
_DIAL_ERRORS: Final = {
    errno.ECONNREFUSED: "refused",
    errno.ECONNRESET: "reset",
    errno.EPIPE: "reset",
    errno.ETIMEDOUT: "timeout",
}


class Watcher:
    """One session of the `eager` policy: a constant pause after any end, then the same address, until `stop`."""

    def __init__(
        self, plan: WatcherPlan, address: Address, upstream_header: str, loop: AbstractEventLoop, ledger: Ledger
    ) -> None:
        self._plan = plan
        self._address = address
        self._upstream_header = upstream_header
        self._loop = loop
        self._ledger = ledger
        self._wire: Wire | None = None
        self._core = self._new_core()
        self._timer: TimerHandle | None = None
        self._attempt = 0
        self._open = False
        self._first = False
        self._upstream = 0
        self._pings: deque[tuple[bytes, int]] = deque()
        self._next_ping = 0
        self._parts: list[bytes] = []

    def start(self, delay_s: float) -> None:
        """Dial after a delay in seconds."""
        self._after(delay_s, self._dial)

    def stop(self) -> None:
        """Close for good. An open session gets its `stop` row; a dial under way just ends."""
        if self._open:
            self._core.send_close(CloseCode.NORMAL_CLOSURE)
            self._row("stop", upstream=self._upstream)
        self._hang_up()

    def wire_open(self, now: int) -> None:  # noqa: ARG002  # rows stamp themselves
        """Ask for the upgrade, now that we are connected."""
        request = self._core.connect()
        for name, value in self._plan.headers.items():
            if name in request.headers:
                del request.headers[name]  # a plan may set Host; a second one would be refused
            request.headers[name] = value
        self._core.send_request(request)
        self._flush()

    def wire_data(self, data: bytes, now: int) -> None:  # noqa: ARG002  # rows stamp themselves
        """Feed the core and act on what it understood."""
        self._core.receive_data(data)
        self._digest()
        self._flush()

    def wire_lost(self, error: int) -> None:
        """End the session, or the dial, with its connection."""
        if self._wire is None:
            return  # we were hanging up, and its last words met a dead line
        self._wire = None
        if self._open:
            self._drop("eof" if error == EOF else "reset", "server")
        elif error == EOF:
            self._core.receive_eof()  # also the end of an answer whose body has no length
            self._digest()
        else:
            self._refuse(_dial_error(error))

    def _dial(self) -> None:
        self._core = self._new_core()
        self._attempt += 1
        self._row("dial", attempt=self._attempt)
        self._after(self._plan.dial_timeout_ms / 1000, self._dial_too_long)
        try:
            self._wire = Wire(self._loop, self._address, self)
        except OSError as exc:
            self._refuse(_dial_error(exc.errno or errno.EIO))

    def _dial_too_long(self) -> None:
        self._refuse("timeout")

    def _digest(self) -> None:
        for event in self._core.events_received():
            if isinstance(event, Frame):
                if self._open:
                    self._frame(event)
            elif isinstance(event, Response) and self._core.handshake_exc is None:
                self._opened(event)
        if self._core.handshake_exc is not None:
            self._refuse(_handshake_error(self._core.handshake_exc))
        elif self._open and self._core.parser_exc is not None and self._core.close_sent is not None:
            # Not WebSocket, or too much of it: the core has answered with the code that says so.
            self._drop("close", "client", self._core.close_sent.code)

    def _opened(self, answer: Response) -> None:
        self._upstream = port_of(answer.headers.get(self._upstream_header, ""))
        self._open = True
        self._attempt = 0
        self._row("open", upstream=self._upstream)
        self._next_ping = monotonic_ns() + int(self._plan.ping_every_ms * _MILLI)
        self._arm_ping()

    def _frame(self, frame: Frame) -> None:
        if frame.opcode is Opcode.PONG:
            self._ponged(bytes(frame.data))
        elif frame.opcode is Opcode.CLOSE:
            received = self._core.close_rcvd
            self._drop("close", "server", None if received is None else received.code)
        elif frame.opcode in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
            self._parts.append(bytes(frame.data))
            if frame.fin:
                message, self._parts = b"".join(self._parts), []
                self._message(read_frame(message))

    def _message(self, message: WatchFrame) -> None:
        if message.error is not None:
            self._row("error", text=message.error)
        elif message.build is not None:
            self._row("event" if self._first else "first", **message.build)
            self._first = True

    def _ponged(self, payload: bytes) -> None:
        """Settle a ping and all before it, as the protocol allows a server to answer only the newest."""
        if any(sent == payload for sent, _ in self._pings):
            while self._pings.popleft()[0] != payload:
                pass

    def _arm_ping(self) -> None:
        wake = self._next_ping
        if self._pings:
            wake = min(wake, self._pings[0][1] + int(self._plan.ping_timeout_ms * _MILLI))
        self._after((wake - monotonic_ns()) / 1e9, self._ping)

    def _ping(self) -> None:
        now = monotonic_ns()
        if self._pings and now - self._pings[0][1] >= self._plan.ping_timeout_ms * _MILLI:
            self._drop("silent", "client")
            return
        if now >= self._next_ping:
            payload = now.to_bytes(8, "big")
            self._pings.append((payload, now))
            self._next_ping = now + int(self._plan.ping_every_ms * _MILLI)
            self._core.send_ping(payload)
            self._flush()
        if self._open:  # the ping may have met a dead line
            self._arm_ping()

    def _flush(self) -> None:
        """Send what the core wants sent, as long as there is a line."""
        for data in self._core.data_to_send():
            if data and self._wire is not None:  # nothing is the core's sign to half-close; we close in full
                self._wire.write(data)

    def _drop(self, cause: str, initiator: str, code: int | None = None) -> None:
        self._row("drop", cause=cause, code=code, initiator=initiator, upstream=self._upstream)
        self._hang_up()
        self._again()

    def _refuse(self, why: str) -> None:
        self._row("refused", why=why)
        self._hang_up()
        self._again()

    def _again(self) -> None:
        self._after(self._plan.redial_ms / 1000, self._dial)

    def _hang_up(self) -> None:
        wire, self._wire = self._wire, None
        if wire is not None:
            wire.write(b"".join(self._core.data_to_send()))  # a close frame, perhaps
            wire.close()
        if self._timer is not None:
            self._timer.cancel()
        self._open = self._first = False
        self._upstream = 0
        self._pings.clear()
        self._parts.clear()

    def _after(self, delay_s: float, act: Callable[[], None]) -> None:
        """Set the one timer: the dial's limit, the next ping or the redial."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(delay_s, act)

    def _row(self, ev: str, **more: object) -> None:
        self._ledger.row(self._plan.id, self._plan.policy, ev, **more)

    def _new_core(self) -> ClientProtocol:
        uri = WebSocketURI(secure=False, host=self._plan.host, port=self._plan.port, path=self._plan.path, query="")
        return ClientProtocol(uri, logger=_QUIET)


def _dial_error(error: int) -> str:
    if error in LOCAL_ERRORS:
        return f"local:{errno.errorcode[error]}"
    return _DIAL_ERRORS.get(error, "unreachable")


def _handshake_error(problem: Exception) -> str:
    if isinstance(problem, InvalidStatus):
        return f"status:{problem.response.status_code}"
    if isinstance(problem, InvalidMessage):
        return "eof" if isinstance(problem.__cause__, EOFError) else "malformed"
    return "handshake"
