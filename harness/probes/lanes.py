"""Probe lanes: how a slot gets its connection.

No lane retries, skips or slows down. `fresh` dials for each slot. `pinned` keeps one connection and sends one request
at a time: a slot that is due while the line is busy waits; its latency and its deadline run from its intended time.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from time import monotonic_ns
from typing import TYPE_CHECKING, NamedTuple

from harness.probes.http_client import request_bytes
from harness.records import REDIALLED

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop
    from collections.abc import Callable

    from harness.probes.exchange import Exchange
    from harness.probes.plan import LanePlan
    from harness.probes.tcp import Address, Wire


class LaneTools(NamedTuple):
    """What all lanes of one meter share."""

    loop: AbstractEventLoop
    deadline_ns: int
    upstream_header: str
    record: Callable[[Exchange], None]
    """Takes each exchange once, when it is over."""


class Lane(ABC):
    """One target in one mode. The schedule calls `due`, an exchange calls `opened` and `ended`."""

    def __init__(self, plan: LanePlan, address: Address, tools: LaneTools) -> None:
        self.id = plan.id
        self.rate_hz = plan.rate_hz
        self.request = request_bytes(plan)
        self.expect_status = plan.expect_status
        self.expect_body = None if plan.expect_body is None else plan.expect_body.encode()
        self.address = address
        self.loop = tools.loop
        self.deadline_ns = tools.deadline_ns
        self.upstream_header = tools.upstream_header.lower().encode("latin-1")
        self.record = tools.record

    @abstractmethod
    def due(self, exchange: Exchange) -> None:
        """Send it, now or as soon as the mode allows."""

    @abstractmethod
    def opened(self) -> int:
        """Hear that a dial came through; returns the flags of the exchange that dialled."""

    @abstractmethod
    def ended(self, exchange: Exchange, wire: Wire | None) -> None:
        """Hear that an exchange is over. `wire` is its connection if that can carry another one."""

    @abstractmethod
    def close(self) -> None:
        """Let go of what the lane keeps."""


class FreshLane(Lane):
    """Each slot dials for itself."""

    def due(self, exchange: Exchange) -> None:
        """Dial."""
        exchange.dial()

    def opened(self) -> int:
        """Flag nothing: every slot of this lane dials."""
        return 0

    def ended(self, exchange: Exchange, wire: Wire | None) -> None:  # noqa: ARG002  # pinned lanes need it
        """Close even when a server would keep the connection against our wish."""
        if wire is not None:
            wire.close()

    def close(self) -> None:
        """Nothing is kept."""


class PinnedLane(Lane):
    """All slots share one kept connection, in the order they were due."""

    def __init__(self, plan: LanePlan, address: Address, tools: LaneTools) -> None:
        super().__init__(plan, address, tools)
        self._queue: deque[Exchange] = deque()
        self._current: Exchange | None = None
        self._idle: Wire | None = None
        self._opened_before = False
        self._pumping = False

    def due(self, exchange: Exchange) -> None:
        """Send on the kept connection, or wait for it."""
        self._queue.append(exchange)
        self._pump()

    def opened(self) -> int:
        """Flag every connection after the first one."""
        flags = REDIALLED if self._opened_before else 0
        self._opened_before = True
        return flags

    def ended(self, exchange: Exchange, wire: Wire | None) -> None:
        """Keep the connection and send what waits. A waiting exchange may end too, by its deadline."""
        if exchange is not self._current:
            return
        self._current = None
        if wire is not None:
            wire.user = self
            self._idle = wire
        self._pump()

    def close(self) -> None:
        """Close the kept connection."""
        if self._idle is not None:
            self._idle.close()
            self._idle = None

    def wire_open(self, now: int) -> None:
        """Never called: only exchanges dial."""

    def wire_data(self, data: bytes, now: int) -> None:  # noqa: ARG002  # the shape of a wire's user
        """Break a connection on which the server speaks unasked: its next words could pass for an answer."""
        if self._idle is not None:
            self._idle.abort()
            self._idle = None

    def wire_lost(self, error: int) -> None:  # noqa: ARG002  # the shape of a wire's user
        """Forget a connection the server ended between two requests. No slot was hurt; the next one dials."""
        self._idle = None

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
                if wire is None:
                    exchange.dial()
                else:
                    exchange.send(wire)
        finally:
            self._pumping = False


def lane_of(plan: LanePlan, address: Address, tools: LaneTools) -> Lane:
    """Build the lane a plan describes."""
    return (FreshLane if plan.mode == "fresh" else PinnedLane)(plan, address, tools)
