"""Lane mode `ws`: one kept WebSocket to an echo endpoint, on which slots overlap.

Each slot sends a numbered text and wants it back before its deadline. A lost line ends what is in flight on it, and the
next slot dials again; who waits for a dial that fails dials for itself, as on a pinned lane.

Coder's `/api/v2/debug/ws` ends a line on which it heard nothing for 10 s (coderd/healthcheck/websocket.go), so a lane
slower than that redials for each slot. Only an owner may open it.
"""

from __future__ import annotations

import errno
import os
from collections import deque
from time import monotonic_ns
from typing import TYPE_CHECKING, Final

from harness.probes.exchange import Exchange, Phase, dial_outcome
from harness.probes.lanes import Lane
from harness.probes.tls import dial
from harness.probes.ws_line import WsLine
from harness.records import REDIALLED, Outcome

if TYPE_CHECKING:
    from harness.probes.lanes import LaneTools
    from harness.probes.plan import LanePlan
    from harness.probes.tcp import Address, WireUser
    from harness.probes.tls import AnyWire

_REMEMBERED: Final = 4096
"""Messages of a line whose echo may still come; one older than that would pass for a wrong one."""


class WsExchange(Exchange):
    """One message and its echo."""

    __slots__ = ("message",)

    lane: WsLane

    def __init__(self, lane: WsLane, slot: int, intended: int) -> None:
        super().__init__(lane, slot, intended)
        self.message = b""

    def go(self) -> None:
        """Leave it to the lane."""
        self.lane.due(self)

    def finish(self) -> None:
        """Hand the record over."""
        self.lane.record(self)
        self.lane.ended(self)


class WsLane(Lane):
    """All slots share one line."""

    def __init__(self, plan: LanePlan, address: Address, tools: LaneTools) -> None:
        super().__init__(plan, address, tools)
        self._plan = plan
        self._line: WsLine | None = None
        self._dialler: WsExchange | None = None
        """The slot whose dial is under way."""
        self._queue: deque[WsExchange] = deque()
        """Slots that wait for it."""
        self._flying: dict[bytes, WsExchange | None] = {}
        """Messages of this line without an echo, in the order they were sent; None for those that are over."""
        self._blame = 0
        """Wrong messages that came when nothing was in flight: each is the next slot's."""
        self._opened_before = False
        self._pumping = False
        self._line_name = ""

    def begin(self, slot: int, intended: int) -> WsExchange:
        """Make it."""
        return WsExchange(self, slot, intended)

    def due(self, exchange: WsExchange) -> None:
        """Send on the line, dial it, or wait for it."""
        self._queue.append(exchange)
        self._pump()

    def ended(self, exchange: WsExchange) -> None:
        """Give up a dial with its slot, and a line on which nothing was heard since a slot that timed out was sent."""
        if exchange is self._dialler:
            self._dialler = None
            self._hang_up()
            self._pump()
        elif exchange.message in self._flying:
            self._flying[exchange.message] = None
            line = self._line
            asked = max(exchange.sent, exchange.first)  # a slot that dialled has heard the yes to its upgrade
            if exchange.outcome is Outcome.READ_TIMEOUT and line is not None and line.heard <= asked:
                # What else is in flight has no line any more, and is over at its own deadline.
                self._hang_up()

    def close(self) -> None:
        """Close the line."""
        if self._line is not None:
            self._line.close()
            self._forget()

    def _wire(self, user: WireUser) -> AnyWire:
        return dial(self.loop, self.address, user, self.tls, self._handshake)

    def _handshake(self, now: int) -> None:
        if self._dialler is not None:
            self._dialler.connected = now
            self._dialler.enter(Phase.TLS, now)

    def line_asked(self, connected: int, now: int) -> None:
        """Go on to the limit of the first byte."""
        if self._dialler is not None:
            self._dialler.connected = connected
            self._dialler.enter(Phase.FIRST_BYTE, now)

    def line_open(self, now: int) -> None:
        """Send what waits."""
        dialler, self._dialler = self._dialler, None
        self._line_name = os.urandom(4).hex()
        if dialler is not None:
            dialler.flags = REDIALLED if self._opened_before else 0
            dialler.first = now
            dialler.phase = Phase.REST
            self._send(dialler)
        self._opened_before = True
        self._pump()

    def line_message(self, message: bytes | None, now: int) -> None:
        """Take an echo, or find out whose a wrong one is: the oldest in flight, else the next."""
        if message in self._flying:
            exchange = self._flying.pop(message)
            if exchange is not None:
                exchange.first = exchange.first or now
                exchange.end(Outcome.OK)
            return
        for exchange in self._flying.values():
            if exchange is not None:
                exchange.first = exchange.first or now
                exchange.end(Outcome.WRONG_BODY)
                return
        self._blame += 1

    def line_lost(self, outcome: Outcome) -> None:
        """End the dial, or all that is in flight."""
        line, dialler = self._line, self._dialler
        flying = [exchange for exchange in self._flying.values() if exchange is not None]
        self._dialler = None
        self._forget()
        if dialler is not None:
            if line is not None:
                dialler.status, dialler.upstream = line.status, line.upstream
            dialler.end(outcome)
        for exchange in flying:
            exchange.end(outcome)
        self._pump()

    def _pump(self) -> None:
        """Send or dial for what waits, until a dial is under way. Either can end at once and call back into here."""
        if self._pumping:
            return
        self._pumping = True
        try:
            while self._queue and self._dialler is None:
                exchange = self._queue.popleft()
                if exchange.outcome is not None or exchange.deadline <= monotonic_ns():
                    continue  # ended while it waited, or about to: the schedule expires it
                exchange.sent = monotonic_ns()
                if self._line is None:
                    self._dial(exchange)
                else:
                    exchange.connected = exchange.sent
                    exchange.enter(Phase.FIRST_BYTE, exchange.sent)
                    self._send(exchange)
        finally:
            self._pumping = False

    def _dial(self, exchange: WsExchange) -> None:
        self._dialler = exchange
        exchange.enter(Phase.CONNECT, exchange.sent)
        try:
            self._line = WsLine(self._plan, self.upstreams, self, self._wire)
        except OSError as exc:
            self._dialler = None
            exchange.end(dial_outcome(exc.errno or errno.EIO, connected=False))

    def _send(self, exchange: WsExchange) -> None:
        line = self._line
        if line is None:
            return
        exchange.status, exchange.upstream = line.status, line.upstream
        exchange.message = f"{self.id} {exchange.slot} {self._line_name}".encode()
        self._flying[exchange.message] = exchange
        oldest = next(iter(self._flying))
        if len(self._flying) > _REMEMBERED and self._flying[oldest] is None:
            del self._flying[oldest]
        line.say(exchange.message)
        if self._blame and exchange.outcome is None:
            self._blame -= 1
            exchange.end(Outcome.WRONG_BODY)

    def _hang_up(self) -> None:
        if self._line is not None:
            self._line.abort()
            self._forget()

    def _forget(self) -> None:
        self._line = None
        self._flying.clear()
        self._blame = 0
