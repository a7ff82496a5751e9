"""`echo`: Coder's own echo endpoint, spoken to in numbers, so that what is lost, doubled or out of order shows.

The server ends it with 1001 after 10 s without a message: coderd/healthcheck/websocket.go. Only an owner may open it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, cast

from harness.probes.kinds.base import Kind

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.probes.kinds.base import Live


class Numbers:
    """The numbers of one session: they go on over reconnects, the counts begin anew with every connection."""

    __slots__ = ("back", "base", "doubled", "due", "late", "missing", "next", "reordered", "said_at", "want")

    def __init__(self) -> None:
        self.next = 0
        """Number of the next message."""
        self.due = 0
        self.renew()

    def renew(self) -> None:
        """Begin a connection."""
        self.base = self.want = self.next
        """First number of this connection, and the lowest not seen yet."""
        self.missing: set[int] = set()
        """Below `want` and not come back: lost, unless it still comes."""
        self.back = self.doubled = self.reordered = self.late = self.said_at = 0

    def take(self, number: int) -> bool:
        """Count an echo; whether it is a good one: a number of this connection, for the first time."""
        if number < self.base:
            self.late += 1
            return False
        if number >= self.want:
            self.missing.update(range(self.want, number))
            self.want = number + 1
        elif number in self.missing:
            self.missing.remove(number)
            self.reordered += 1
        else:
            self.doubled += 1
            return False
        self.back += 1
        return True

    def counts(self, last: int, beat_ns: int, patience_ns: int) -> dict[str, object]:
        """Give the row's field `echo`, for a line that lived until `last` (monotonic ns).

        `lost` are those it did not bring back though they had time enough, `in_flight` those nobody can blame it for.
        """
        waiting = self.next - self.want
        overdue = self._overdue(waiting, last, beat_ns, patience_ns) if waiting else 0
        return {
            "echo": {
                "sent": self.next - self.base,
                "back": self.back,
                "lost": len(self.missing) + overdue,
                "in_flight": waiting - overdue,
                "doubled": self.doubled,
                "reordered": self.reordered,
                "late": self.late,
            }
        }

    def _overdue(self, waiting: int, last: int, beat_ns: int, patience_ns: int) -> int:
        """How many of the newest, said one per beat, had time enough; one less, as a beat may have come early."""
        since_oldest = last - (self.said_at - (waiting - 1) * beat_ns)
        return min(waiting, max(0, (since_oldest - patience_ns) // beat_ns))


class Echo(Kind):
    """Sends `id#number` every beat. Lost are numbers that a line which lived on did not bring back."""

    name: ClassVar[str] = "echo"
    path: ClassVar[str] = "/api/v2/debug/ws"

    def begin(self) -> Numbers:
        """Start counting."""
        return Numbers()

    def opened(self, session: Live, now: int) -> None:
        """Speak at once: the first echo is what makes the session back."""
        numbers = cast("Numbers", session.memo)
        numbers.renew()
        numbers.due = now
        self.beat(session, now)

    def beat(self, session: Live, now: int) -> None:
        """Send the next number."""
        numbers = cast("Numbers", session.memo)
        message = f"{session.name}#{numbers.next}".encode()
        numbers.next += 1
        numbers.said_at = now
        numbers.due = max(numbers.due + session.beat_ns, now + 1)
        session.say(message)

    def message(self, session: Live, data: bytes, now: int) -> None:
        """Take an echo."""
        numbers = cast("Numbers", session.memo)
        name, _, number = data.decode("utf-8", "replace").rpartition("#")
        if name != session.name or not number.isdecimal() or len(number) > 18 or int(number) >= numbers.next:
            session.bad(now, f"not ours: {data[:80].decode('utf-8', 'replace')}")
        elif numbers.take(int(number)) and not session.first:
            session.good(now, number=int(number))

    def closing(self, session: Live) -> Mapping[str, object]:
        """Give the counts of this connection."""
        numbers = cast("Numbers", session.memo)
        return numbers.counts(session.last, session.beat_ns, session.patience_ns)
