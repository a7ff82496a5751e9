"""One timer of the event loop for thousands of sleepers: a timer each would cost more than the session behind it."""

from __future__ import annotations

from heapq import heappop, heappush
from time import monotonic_ns
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop, TimerHandle

_TICK: Final = 2_000_000
"""Nanoseconds. Who is due in the same 2 ms is woken together, never early."""


class Sleeper(Protocol):
    """Who can be woken: holds the slot it sleeps in, 0 when it does not sleep."""

    slot: int

    def wake(self, now: int) -> None:
        """Hear that the time has come, on CLOCK_MONOTONIC in nanoseconds."""


class Wheel:
    """Wakes each sleeper once, at its moment or up to 2 ms later. Setting and clearing cost the same for any number."""

    def __init__(self, loop: AbstractEventLoop) -> None:
        self._loop = loop
        self._slots: dict[int, dict[Sleeper, None]] = {}
        self._order: list[int] = []
        self._timer: TimerHandle | None = None
        self._armed = 0

    def set(self, sleeper: Sleeper, due: int) -> None:
        """Wake at `due` (monotonic ns) and at no other time."""
        slot = -(-due // _TICK)
        if sleeper.slot == slot:
            return
        self.clear(sleeper)
        sleeper.slot = slot
        if slot in self._slots:
            self._slots[slot][sleeper] = None
            return
        self._slots[slot] = {sleeper: None}
        heappush(self._order, slot)
        if self._timer is None or slot < self._armed:
            self._arm()

    def clear(self, sleeper: Sleeper) -> None:
        """Let it sleep for good."""
        if sleeper.slot:
            self._slots.get(sleeper.slot, {}).pop(sleeper, None)
            sleeper.slot = 0

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._armed = self._order[0]
        self._timer = self._loop.call_at(self._armed * _TICK / 1e9, self._turn)

    def _turn(self) -> None:
        self._timer = None
        now = monotonic_ns()
        while self._order and self._order[0] * _TICK <= now:
            slot = heappop(self._order)
            for sleeper in self._slots.pop(slot):
                if sleeper.slot == slot:  # another one's waking may have moved it
                    sleeper.slot = 0
                    sleeper.wake(now)
        if self._order and self._timer is None:
            self._arm()
