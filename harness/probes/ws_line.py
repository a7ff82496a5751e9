"""One WebSocket to an echo endpoint: the dial, the upgrade, numbered messages, and every way it can end.

The frames are read by the sans-I/O core of `websockets`; the sockets, the stamps and what an end means are ours.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final, Protocol

from websockets.client import ClientProtocol
from websockets.exceptions import InvalidMessage, InvalidStatus
from websockets.frames import CloseCode, Frame, Opcode
from websockets.http11 import Response
from websockets.uri import WebSocketURI

from harness.probes.exchange import dial_outcome, lost_outcome
from harness.probes.http_client import MAX_ANSWER_BYTES
from harness.probes.tcp import EOF
from harness.records import Outcome, of_status

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.probes.plan import LanePlan
    from harness.probes.tcp import WireUser
    from harness.probes.tls import AnyWire
    from harness.upstreams import Upstreams

_QUIET: Final = logging.getLogger("harness.probes.ws_line")
_QUIET.disabled = True  # what a server does wrong is an outcome, not a log line


class LineUser(Protocol):
    """Who hears from a line. Stamps are CLOCK_MONOTONIC nanoseconds."""

    def line_asked(self, connected: int, now: int) -> None:
        """Hear that the upgrade is asked for, over what was connected at `connected`."""

    def line_open(self, now: int) -> None:
        """Hear that it is a WebSocket."""

    def line_message(self, message: bytes | None, now: int) -> None:
        """Take a text message, None for one that is no text."""

    def line_lost(self, outcome: Outcome) -> None:
        """Hear that it ended without us, or never became a line, and what that is for whoever waits. Nothing follows."""


class WsLine:
    """Dials at once, by `dial`. Raises OSError when that fails on the spot."""

    def __init__(
        self, plan: LanePlan, upstreams: Upstreams, user: LineUser, dial: Callable[[WireUser], AnyWire]
    ) -> None:
        self.status = 0
        """HTTP status of the answer to the upgrade, 0 without one."""
        self.upstream = 0
        """Port of the replica that answered, 0 if unknown."""
        self.heard = 0
        """When anything came last, 0 for never."""
        self._user = user
        self._upstreams = upstreams
        self._headers = plan.headers
        uri = WebSocketURI(secure=plan.tls is not None, host=plan.host, port=plan.port, path=plan.path, query="")
        self._core = ClientProtocol(uri, max_size=MAX_ANSWER_BYTES, logger=_QUIET)
        self._asked = self._open = self._over = False
        self._parts: list[bytes] = []
        self._is_text = False
        self._wire = dial(self)

    def say(self, message: bytes) -> None:
        """Send a text message. A failure reaches `user.line_lost` before this returns."""
        self._core.send_text(message)
        self._flush()

    def close(self) -> None:
        """End in order. The user hears nothing more."""
        self._over = True
        if self._open and self._core.close_sent is None:
            self._core.send_close(CloseCode.NORMAL_CLOSURE)
            self._flush()
        self._wire.close()

    def abort(self) -> None:
        """End with a reset. The user hears nothing more."""
        self._over = True
        self._wire.abort()

    def wire_open(self, now: int) -> None:
        """Ask for the upgrade, now that we are connected."""
        request = self._core.connect()
        for name, value in self._headers.items():
            if name in request.headers:
                del request.headers[name]  # a plan may set Host; a second one would be refused
            request.headers[name] = value
        self._core.send_request(request)
        self._asked = True
        self._user.line_asked(self._wire.connected, now)
        self._flush()

    def wire_data(self, data: bytes, now: int) -> None:
        """Feed the core and act on what it understood."""
        self.heard = now
        self._core.receive_data(data)
        self._digest(now)
        if not self._over:
            self._flush()  # pongs

    def wire_lost(self, error: int) -> None:
        """End with the connection."""
        if self._over:
            return  # we were hanging up, and our last words met a dead line
        if not self._asked:
            self._lose(dial_outcome(error, connected=self._wire.connected > 0))
            return
        if error == EOF and not self._open:
            self._core.receive_eof()  # also the end of an answer whose body has no length
            self._digest(self.heard)
        if not self._over:
            self._lose(lost_outcome(error))

    def _digest(self, now: int) -> None:
        for event in self._core.events_received():
            if self._over:
                return  # somebody hung up on hearing the event before
            if isinstance(event, Frame):
                self._frame(event, now)
            elif isinstance(event, Response):
                self.status = event.status_code
                # A header that is there twice is no error of ours: the nearest proxy writes last.
                self.upstream = self._upstreams.port((event.headers.get_all(self._upstreams.header) or [""])[-1])
                if self._core.handshake_exc is None:
                    self._open = True
                    self._user.line_open(now)
        if self._over:
            return
        if self._core.handshake_exc is not None:
            self._refused(self._core.handshake_exc)
        elif self._core.parser_exc is not None:
            sent = self._core.close_sent
            too_long = sent is not None and sent.code == CloseCode.MESSAGE_TOO_BIG
            self._lose(Outcome.WRONG_BODY if too_long else Outcome.MALFORMED)

    def _refused(self, problem: Exception) -> None:
        """End a dial whose answer is no upgrade."""
        if isinstance(problem, InvalidStatus):
            self._lose(of_status(self.status, problem.response.body or b""))
        elif not isinstance(problem, InvalidMessage):
            self._lose(Outcome.WRONG_BODY)  # a 101 that is no WebSocket
        elif isinstance(problem.__cause__, EOFError):
            self._lose(Outcome.CLOSED)
        else:
            self._lose(Outcome.MALFORMED)

    def _frame(self, frame: Frame, now: int) -> None:
        if frame.opcode is Opcode.CLOSE:
            self._lose(Outcome.CLOSED)
        elif frame.opcode in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
            if frame.opcode is not Opcode.CONT:
                self._is_text = frame.opcode is Opcode.TEXT
            self._parts.append(bytes(frame.data))
            if frame.fin:
                message, self._parts = b"".join(self._parts), []
                self._user.line_message(message if self._is_text else None, now)

    def _flush(self) -> None:
        for data in self._core.data_to_send():
            if data:  # nothing is the core's sign to half-close; we close in full
                self._wire.write(data)

    def _lose(self, outcome: Outcome) -> None:
        self._over = True
        self._flush()  # the answer to a close
        self._wire.close()
        self._user.line_lost(outcome)
