"""Late answers: what became of a slot after its deadline, which tells "slow, then served" from "lost"."""

from __future__ import annotations

from collections import deque
from time import monotonic_ns
from typing import TYPE_CHECKING, Final

from harness.probes.http_exchange import HttpExchange

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.probes.exchange import Exchange

MOST: Final = 2000
"""Connections that are listened to at once, so that a dead deployment does not cost us all our descriptors."""


class Late:
    """Takes over exchanges that missed their deadline and records how each really ends, at most `follow_ns` after due."""

    def __init__(self, follow_ns: int, record: Callable[[Exchange], None]) -> None:
        self.following = 0
        """Exchanges listened to now."""
        self._turned_away = 0
        self.recorded = 0
        """Records written so far."""
        self._record = record
        self._follow_ns = follow_ns
        # Exchanges come in order of their deadlines, or nearly, and all stay for the same time.
        self._line: deque[Followed] = deque()

    def take(self, exchange: HttpExchange) -> bool:
        """Listen on, on the connection of an exchange that is over. False when there is nothing to listen to, or no room."""
        if exchange.wire is None or exchange.intended + self._follow_ns <= exchange.deadline:
            return False
        if self.following >= MOST:
            self._turned_away += 1
            return False
        self._line.append(Followed(exchange, self, self._follow_ns))
        self.following += 1
        return True

    def over(self, followed: Followed) -> None:
        """Record one that is over."""
        self.following -= 1
        self.recorded += 1
        self._record(followed)

    def report(self) -> dict[str, object]:
        """Count for the self-check: how many are followed now, how many were not, for want of room, since the last call."""
        turned_away, self._turned_away = self._turned_away, 0
        return {"following": self.following, "not_followed": turned_away}

    def wake(self) -> int | None:
        """Say when the first in line is given up, None without any."""
        return self._line[0].deadline if self._line else None

    def expire(self, now: int, unattended: Callable[[int, int], bool]) -> None:
        """Give up all whose time is over. `unattended` tells it of the time [from, to]."""
        while self._line and (self._line[0].outcome is not None or self._line[0].deadline <= now):
            followed = self._line.popleft()
            if followed.outcome is None:
                followed.expire(followed.deadline, unattended=unattended(followed.since, followed.deadline))

    def abandon(self) -> None:
        """End all as UNKNOWN, because the meter stops."""
        for followed in self._line:
            followed.abandon()


class Followed(HttpExchange):
    """The same slot after its deadline, with the connection and what came of the answer so far."""

    __slots__ = ("_late", "since")

    def __init__(self, exchange: HttpExchange, late: Late, follow_ns: int) -> None:
        super().__init__(exchange.lane, exchange.slot, exchange.intended)
        self.since = monotonic_ns()
        self.deadline = exchange.intended + follow_ns
        self.sent, self.connected, self.first = exchange.sent, exchange.connected, exchange.first
        self.flags, self.phase = exchange.flags, exchange.phase
        self.answer = exchange.answer
        self.wire, exchange.wire = exchange.wire, None
        if self.wire is not None:
            self.wire.user = self
        self._late = late

    def finish(self) -> None:
        """Hand the record to the other file."""
        if self.answer is not None:
            self.status, self.upstream = self.answer.status, self.answer.upstream
        self._late.over(self)
        self.hang_up()
