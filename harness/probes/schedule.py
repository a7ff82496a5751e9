"""The open loop: when each slot of each lane is due and when it is past its deadline, on one timer.

Slot n of a lane is intended at `lane start + n / rate` on CLOCK_MONOTONIC, whatever happened to the slots before.
"""

from __future__ import annotations

import asyncio
from collections import deque
from heapq import heapify, heapreplace
from time import monotonic_ns
from typing import TYPE_CHECKING, Final

from harness.probes.poller import poller_of
from harness.probes.selfcheck import BEAT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.probes.exchange import Exchange
    from harness.probes.lanes import Lane, LaneTools
    from harness.probes.selfcheck import SelfCheck

_SECOND: Final = 1_000_000_000
_TICK: Final = 1_000_000
"""Sends closer together than 1 ms share a wake-up."""


class Schedule:
    """Sends what is due, expires what is late, never waits for a server."""

    def __init__(self, lanes: Sequence[Lane], tools: LaneTools, check: SelfCheck) -> None:
        self._loop = tools.loop
        self._lanes = lanes
        self._deadline = tools.deadline_ns
        self._check = check
        self._lines = [line for line in (tools.phases, tools.late) if line is not None]
        """Further limits beside the deadline."""
        self._late = tools.late
        self._poll = poller_of(tools.loop).poll
        self._starts: list[int] = []
        self._slots = [0] * len(lanes)
        self._due: list[tuple[int, int]] = []
        # Slots become due in order of their intended times and share one deadline, so the first is always the earliest.
        self._flying: deque[Exchange] = deque()
        self._timer: asyncio.TimerHandle | None = None

    def start(self, at: int) -> None:
        """Begin at a monotonic moment; lanes are shifted against each other so that sends spread."""
        count = len(self._lanes)
        self._starts = [at + int(_SECOND / lane.rate_hz * k / count) for k, lane in enumerate(self._lanes)]
        self._due = [(start, k) for k, start in enumerate(self._starts)]
        heapify(self._due)
        self._arm(monotonic_ns())

    async def finish(self, grace_ns: int) -> None:
        """Send nothing new, wait for what is under way, at most `grace_ns`, and abandon the rest."""
        self._due.clear()
        give_up = monotonic_ns() + grace_ns
        while monotonic_ns() < give_up and any(e.outcome is None for e in self._flying):  # noqa: ASYNC110  # once
            await asyncio.sleep(0.005)
        if self._timer is not None:
            self._timer.cancel()
        # From the last one on: a pinned lane whose line falls free must not send what is about to be abandoned.
        for exchange in reversed(self._flying):
            exchange.abandon()
        if self._late is not None:
            self._late.abandon()
        for lane in self._lanes:
            lane.close()

    def _arm(self, now: int) -> None:
        wake = now + BEAT  # the self-check wants to hear from us
        if self._due and self._due[0][0] < wake:
            wake = self._due[0][0]
        if self._flying and self._flying[0].deadline < wake:
            wake = self._flying[0].deadline
        for line in self._lines:
            at = line.wake()
            if at is not None and at < wake:
                wake = at
        self._timer = self._loop.call_at(max(wake, now + _TICK) / _SECOND, self._tick)

    def _tick(self) -> None:
        now = monotonic_ns()
        self._check.beat(now)
        self._expire(now)
        if self._due and self._due[0][0] <= now:
            while self._due[0][0] <= now:
                self._fire(*self._due[0])
            self._poll()  # a dial on this machine is through by now: one turn of the loop less for each
        self._arm(now)

    def _fire(self, intended: int, k: int) -> None:
        lane = self._lanes[k]
        slot = self._slots[k]
        self._slots[k] = slot + 1
        heapreplace(self._due, (self._starts[k] + round((slot + 1) * _SECOND / lane.rate_hz), k))
        exchange = lane.begin(slot, intended)
        lateness = monotonic_ns() - intended
        sent = lateness <= self._deadline // 2
        self._check.fired(lateness, sent=sent)
        if sent:
            self._flying.append(exchange)
            exchange.go()
        else:
            exchange.abandon()

    def _expire(self, now: int) -> None:
        while self._flying and (self._flying[0].outcome is not None or self._flying[0].deadline <= now):
            exchange = self._flying.popleft()
            if exchange.outcome is None:
                exchange.expire(exchange.deadline, unattended=self._unattended(exchange.intended, exchange.deadline))
        for line in self._lines:
            line.expire(now, self._unattended)

    def _unattended(self, since: int, to: int) -> bool:
        """Whether we were away for most of a time: a server we did not listen to has not failed."""
        return self._check.stalled_ns(since, to) > (to - since) // 2
