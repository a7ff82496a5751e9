"""One advisory lock of the database: shared or exclusive, strictly in order of asking, as PostgreSQL grants it."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Ticket:
    """One session's wish for the lock."""

    def __init__(self, granted: Callable[[], None], *, exclusive: bool) -> None:
        self.exclusive = exclusive
        self.granted = granted
        self.held = False
        self.over = False


class Lock:
    """Grants tickets in order: a waiting exclusive one holds up every later shared one."""

    def __init__(self) -> None:
        self._held: set[Ticket] = set()
        self._waiting: deque[Ticket] = deque()

    def ask(self, granted: Callable[[], None], *, exclusive: bool) -> Ticket:
        """Queue up; `granted` is called once, perhaps at once."""
        ticket = Ticket(granted, exclusive=exclusive)
        self._waiting.append(ticket)
        self._grant()
        return ticket

    def release(self, ticket: Ticket) -> None:
        """Give it back, or stop waiting for it. May be repeated."""
        ticket.over = True
        ticket.held = False
        self._held.discard(ticket)
        self._grant()

    def _grant(self) -> None:
        while self._waiting:
            first = self._waiting[0]
            if first.over:
                self._waiting.popleft()
                continue
            if self._held and (first.exclusive or any(ticket.exclusive for ticket in self._held)):
                return
            self._waiting.popleft()
            self._held.add(first)
            first.held = True
            first.granted()
