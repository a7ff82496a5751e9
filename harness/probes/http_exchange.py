"""A slot that is one HTTP request, over a connection of its own or over a kept one."""

from __future__ import annotations

import errno
from time import monotonic_ns
from typing import TYPE_CHECKING

from harness.probes.exchange import Exchange, Phase, dial_outcome, lost_outcome
from harness.probes.http_client import Answer
from harness.probes.tcp import EOF
from harness.probes.tls import dial

if TYPE_CHECKING:
    from harness.probes.lanes import HttpLane
    from harness.probes.tls import AnyWire


class HttpExchange(Exchange):
    """One GET of an HttpLane."""

    __slots__ = ("answer", "wire")

    lane: HttpLane

    def __init__(self, lane: HttpLane, slot: int, intended: int) -> None:
        super().__init__(lane, slot, intended)
        self.wire: AnyWire | None = None
        self.answer: Answer | None = None

    def go(self) -> None:
        """Leave it to the lane."""
        self.lane.due(self)

    def dial(self) -> None:
        """Send over a connection of its own."""
        lane = self.lane
        self.sent = monotonic_ns()
        self.enter(Phase.CONNECT, self.sent)
        try:
            self.wire = dial(lane.loop, lane.address, self, lane.tls, self._handshake)
        except OSError as exc:
            self.end(dial_outcome(exc.errno or errno.EIO, connected=False))

    def send(self, wire: AnyWire, answer: Answer) -> None:
        """Send over a kept connection, and go on reading where its last answer ended."""
        self.sent = self.connected = monotonic_ns()
        self.wire = wire
        self.answer = answer
        answer.restart()
        wire.user = self
        self.enter(Phase.FIRST_BYTE, self.sent)
        wire.write(self.lane.request)

    def _handshake(self, now: int) -> None:
        self.connected = now
        self.enter(Phase.TLS, now)

    def wire_open(self, now: int) -> None:
        """Write the request, now that we are connected."""
        self.connected = self.connected or now
        self.flags = self.lane.opened()
        self.answer = Answer(self.lane.upstreams)
        self.enter(Phase.FIRST_BYTE, now)
        if self.wire is not None:
            self.wire.write(self.lane.request)

    def wire_data(self, data: bytes, now: int) -> None:
        """Read the answer, or a part of it."""
        if not self.first:
            self.first = now
            self.phase = Phase.REST
        if self.answer is not None:
            self.answer.feed(data)
            if self.answer.ended:
                self.end(self.lane.judge(self.answer))

    def wire_lost(self, error: int) -> None:
        """End it with the connection."""
        if self.answer is None:
            self.end(dial_outcome(error, connected=self.connected > 0))
        elif error == EOF:
            self.answer.feed_eof(whole=self.wire is None or not self.wire.ragged)
            self.end(self.lane.judge(self.answer))
        else:
            self.end(lost_outcome(error))

    def finish(self) -> None:
        """Hand the record over; the lane decides about the connection."""
        if self.answer is not None:
            self.status, self.upstream = self.answer.status, self.answer.upstream
        self.lane.record(self)
        self.lane.ended(self)

    def hang_up(self) -> None:
        """Let go of the connection: in order after a whole answer, with a reset otherwise."""
        wire, self.wire = self.wire, None
        if self.answer is not None:
            self.answer.release()
        if wire is not None:
            if self.answer is not None and self.answer.ended:
                wire.close()
            else:
                wire.abort()
