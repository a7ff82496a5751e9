"""The engine of the lanes in a closed loop: what it can do at most. For benchmarks; a meter never measures like this.

The same exchanges, wires, parsing and records as in a run; only the schedule is missing, so nothing has a deadline.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final, NamedTuple

from harness.probes.lanes import LaneTools
from harness.probes.modes import lane_of
from harness.probes.tcp import resolve
from harness.probes.writer import packed
from harness.records import Outcome
from harness.upstreams import Upstreams

if TYPE_CHECKING:
    from harness.probes.exchange import Exchange
    from harness.probes.lanes import Lane
    from harness.probes.plan import LanePlan

_NEVER: Final = 1 << 60
_BUFFER_BYTES: Final = 1 << 20
_PAUSE_S: Final = 0.01
"""After anything but OK, so that a server that refuses does not get all our time."""


class Pumped(NamedTuple):
    """What a pump did: requests that ended, those of them that were OK, and the seconds of clock and processor it took."""

    requests: int
    ok: int
    seconds: float
    cpu_s: float


async def pump(plan: LanePlan, connections: int, seconds: float) -> Pumped:
    """Keep `connections` requests in flight for a time, each followed by the next as soon as it is answered.

    The mode of the plan says how: `pinned` keeps its connections, `fresh` dials for each request. Its rate is ignored.
    Raises PlanError for a name that does not resolve.
    """
    return await _Pump(plan, connections).run(seconds)


class _Pump:
    def __init__(self, plan: LanePlan, connections: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._records = bytearray()
        self._requests = self._ok = 0
        self._flying: dict[Lane, Exchange] = {}
        tools = LaneTools(self._loop, _NEVER, Upstreams(), self._record)
        address = resolve(plan.host, plan.port)
        self._lanes = [lane_of(plan, address, tools) for _ in range(connections)]
        self._running = True

    async def run(self, seconds: float) -> Pumped:
        begun, cpu_s = time.monotonic(), time.process_time()
        for lane in self._lanes:
            self._send(lane)
        await asyncio.sleep(seconds)
        done = Pumped(self._requests, self._ok, time.monotonic() - begun, time.process_time() - cpu_s)
        self._running = False
        for exchange in list(self._flying.values()):
            exchange.abandon()
        for lane in self._lanes:
            lane.close()
        return done

    def _send(self, lane: Lane) -> None:
        if self._running:
            self._flying[lane] = exchange = lane.begin(self._requests, time.monotonic_ns())
            exchange.go()

    def _record(self, exchange: Exchange) -> None:
        self._requests += 1
        self._records += packed(exchange)
        if len(self._records) > _BUFFER_BYTES:
            self._records.clear()
        if exchange.outcome is Outcome.OK:
            self._ok += 1
            self._send(exchange.lane)
        else:
            self._loop.call_later(_PAUSE_S, self._send, exchange.lane)
