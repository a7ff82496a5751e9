"""A replica's database connections, as far as a seeded bug loses them: what is left makes requests queue."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.fake.bugs import Behaviour
    from harness.fake.life import Life

_SIZE = 10
LOOK_S = 0.25
"""Seconds between two looks at the database."""
_SLOW_MS = 20
_TRIPS = 4
"""Round trips for which a request holds a connection."""
_MS = 1_000_000
_PATIENCE_NS = 1000 * _MS
"""A queue longer than this is one whose callers give up."""


class Pool:
    """The connections of one life of a replica. Times in nanoseconds."""

    def __init__(self, behaviour: Behaviour) -> None:
        self._comes_back_s = behaviour.connection_back_s
        self._leaks = behaviour.leaks
        self._out = 0
        self._free_at = 0

    def looked(self, life: Life, trip_ms: float) -> None:
        """A look at the database took so long."""
        if not self._leaks or trip_ms < _SLOW_MS or self._out >= _SIZE - 1:
            return
        self._out += 1
        if self._comes_back_s is not None:
            life.after(self._comes_back_s, self._back)

    def _back(self) -> None:
        self._out -= 1

    def wait_ns(self, now: int, delay_ms: int) -> int:
        """How long a request waits for a connection; nobody waits while all of them are there."""
        if not self._out:
            return 0
        wait = max(0, self._free_at - now)
        if wait < _PATIENCE_NS:
            self._free_at = max(self._free_at, now) + _TRIPS * delay_ms * _MS // (_SIZE - self._out)
        return wait
