"""Probe lanes: how a slot gets its connection.

No lane retries, skips or slows down. `fresh` dials for each slot. `pinned` keeps one connection and sends one request
at a time: a slot that is due while the line is busy waits; its latency and its deadline run from its intended time.
`ws` (harness.probes.ws_lane) keeps one WebSocket, on which slots overlap.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from time import monotonic_ns
from typing import TYPE_CHECKING, NamedTuple

from harness.probes.http_client import request_bytes
from harness.probes.http_exchange import HttpExchange
from harness.probes.tls import prepare_tls
from harness.records import REDIALLED, Outcome

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop
    from collections.abc import Callable

    from harness.probes.exchange import Exchange
    from harness.probes.http_client import Answer
    from harness.probes.late import Late
    from harness.probes.phases import Phases
    from harness.probes.plan import LanePlan
    from harness.probes.tcp import Address
    from harness.probes.tls import AnyWire
    from harness.upstreams import Upstreams


class LaneTools(NamedTuple):
    """What all lanes of one meter share."""

    loop: AbstractEventLoop
    deadline_ns: int
    upstreams: Upstreams
    record: Callable[[Exchange], None]
    """Takes each exchange once, when it is over."""
    phases: Phases | None = None
    """Limits of the phases of an exchange, where the plan has any."""
    late: Late | None = None
    """Listens on for late answers, where the plan wants it."""


class Lane(ABC):
    """One target in one mode."""

    def __init__(self, plan: LanePlan, address: Address, tools: LaneTools) -> None:
        self.id = plan.id
        self.rate_hz = plan.rate_hz
        self.address = address
        self.tls = prepare_tls(plan.tls, plan.host)
        self.loop = tools.loop
        self.deadline_ns = tools.deadline_ns
        self.upstreams = tools.upstreams
        self.record = tools.record
        self.phases = tools.phases

    @abstractmethod
    def begin(self, slot: int, intended: int) -> Exchange:
        """Make the exchange of a slot. Nothing is sent before its `go`."""

    @abstractmethod
    def close(self) -> None:
        """Let go of what the lane keeps."""


class HttpLane(Lane):
    """Each slot is one GET."""

    def __init__(self, plan: LanePlan, address: Address, tools: LaneTools) -> None:
        super().__init__(plan, address, tools)
        self.request = request_bytes(plan)
        self._expect_status = plan.expect_status
        self._expect_body = None if plan.expect_body is None else plan.expect_body.encode()
        self._expect_type = None if plan.expect_type is None else plan.expect_type.lower().encode()

    def begin(self, slot: int, intended: int) -> HttpExchange:
        """Make it."""
        return HttpExchange(self, slot, intended)

    def judge(self, answer: Answer) -> Outcome:
        """Tell whether an answer is what the plan wants."""
        return answer.outcome(self._expect_status, self._expect_body, self._expect_type)

    @abstractmethod
    def due(self, exchange: HttpExchange) -> None:
        """Send it, now or as soon as the mode allows."""

    @abstractmethod
    def opened(self) -> int:
        """Hear that a dial came through; returns the flags of the exchange that dialled."""

    @abstractmethod
    def ended(self, exchange: HttpExchange) -> None:
        """Hear that an exchange is over and recorded; its connection is the lane's to keep or to break."""


class FreshLane(HttpLane):
    """Each slot dials for itself."""

    def __init__(self, plan: LanePlan, address: Address, tools: LaneTools) -> None:
        super().__init__(plan, address, tools)
        self._late = tools.late

    def due(self, exchange: HttpExchange) -> None:
        """Dial."""
        exchange.dial()

    def opened(self) -> int:
        """Flag nothing: every slot of this lane dials."""
        return 0

    def ended(self, exchange: HttpExchange) -> None:
        """Break it, even when a server would keep it, or leave it to who listens on for a late answer."""
        if exchange.outcome is not Outcome.READ_TIMEOUT or self._late is None or not self._late.take(exchange):
            exchange.hang_up()

    def close(self) -> None:
        """Nothing is kept."""


class PinnedLane(HttpLane):
    """All slots share one kept connection, in the order they were due."""

    def __init__(self, plan: LanePlan, address: Address, tools: LaneTools) -> None:
        super().__init__(plan, address, tools)
        self._queue: deque[HttpExchange] = deque()
        self._current: HttpExchange | None = None
        self._idle: AnyWire | None = None
        self._answer: Answer | None = None
        """Reads what comes on the idle wire next."""
        self._opened_before = False
        self._pumping = False

    def due(self, exchange: HttpExchange) -> None:
        """Send on the kept connection, or wait for it."""
        self._queue.append(exchange)
        self._pump()

    def opened(self) -> int:
        """Flag every connection after the first one."""
        flags = REDIALLED if self._opened_before else 0
        self._opened_before = True
        return flags

    def ended(self, exchange: HttpExchange) -> None:
        """Keep the connection and send what waits. A waiting exchange may end too, by its deadline."""
        if exchange is not self._current:
            return
        self._current = None
        wire, answer = exchange.wire, exchange.answer
        if wire is not None and answer is not None and answer.keep:
            wire.user = self
            self._idle, self._answer = wire, answer
        else:
            exchange.hang_up()
        self._pump()

    def close(self) -> None:
        """Close the kept connection."""
        if self._idle is not None:
            self._idle.close()
            self._forget()

    def wire_open(self, now: int) -> None:
        """Never called: only exchanges dial."""

    def wire_data(self, data: bytes, now: int) -> None:  # noqa: ARG002  # the shape of a wire's user
        """Break a connection on which the server speaks unasked: its next words could pass for an answer."""
        if self._idle is not None:
            self._idle.abort()
            self._forget()

    def wire_lost(self, error: int) -> None:  # noqa: ARG002  # the shape of a wire's user
        """Forget a connection the server ended between two requests. No slot was hurt; the next one dials."""
        self._forget()

    def _forget(self) -> None:
        self._idle = None
        if self._answer is not None:
            self._answer.release()
            self._answer = None

    def _pump(self) -> None:
        """Send waiting exchanges until one occupies the line. A send can end at once and calls back into here."""
        if self._pumping:
            return
        self._pumping = True
        try:
            while self._queue and self._current is None:
                exchange = self._queue.popleft()
                if exchange.outcome is not None or exchange.deadline <= monotonic_ns():
                    continue  # ended while it waited, or about to: the schedule expires it
                self._current = exchange
                wire, self._idle = self._idle, None
                answer, self._answer = self._answer, None
                if wire is None or answer is None:
                    exchange.dial()
                else:
                    exchange.send(wire, answer)
        finally:
            self._pumping = False
