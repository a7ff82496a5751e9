"""One slot of one lane, from the moment it is due until its one outcome."""

from __future__ import annotations

import errno
from time import monotonic_ns
from typing import TYPE_CHECKING, Final

from harness.probes.http_client import Answer
from harness.probes.tcp import EOF, LOCAL_ERRORS, Wire
from harness.records import Outcome

if TYPE_CHECKING:
    from harness.probes.lanes import Lane

_DIAL_OUTCOMES: Final = {errno.ECONNRESET: Outcome.RESET, errno.ETIMEDOUT: Outcome.CONNECT_TIMEOUT}


class Exchange:
    """A request: due, perhaps sent, and over exactly once. Times in monotonic nanoseconds, 0 if not reached.

    ```
    due ──> queued ──> dialled ──> connected ──> first byte ──> over
      └────────┴───────────┴───────────┴─────────────┴──── expire, lost, abandon ──> over
    ```
    """

    __slots__ = (
        "_answer",
        "_wire",
        "connected",
        "deadline",
        "done",
        "first",
        "flags",
        "intended",
        "lane",
        "outcome",
        "sent",
        "slot",
    )

    def __init__(self, lane: Lane, slot: int, intended: int) -> None:
        self.lane = lane
        self.slot = slot
        self.intended = intended
        self.deadline = intended + lane.deadline_ns
        self.sent = self.connected = self.first = self.done = 0
        self.flags = 0
        self.outcome: Outcome | None = None
        self._answer = Answer(lane.upstream_header)
        self._wire: Wire | None = None

    @property
    def status(self) -> int:
        """HTTP status of the answer, 0 without one."""
        return self._answer.status

    @property
    def upstream(self) -> int:
        """Port of the replica that answered, 0 if unknown."""
        return self._answer.upstream

    def dial(self) -> None:
        """Send over a connection of its own."""
        self.sent = monotonic_ns()
        try:
            self._wire = Wire(self.lane.loop, self.lane.address, self)
        except OSError as exc:
            self._end(_dial_outcome(exc.errno or errno.EIO))

    def send(self, wire: Wire) -> None:
        """Send over a kept connection."""
        self.sent = self.connected = monotonic_ns()
        self._wire = wire
        wire.user = self
        wire.write(self.lane.request)

    def expire(self, *, unattended: bool) -> None:
        """End it at its deadline; as UNKNOWN when we were not there to see what the server did."""
        if unattended:
            self._end(Outcome.UNKNOWN)
        elif self.sent and not self.connected:
            self._end(Outcome.CONNECT_TIMEOUT, self.deadline)
        else:
            self._end(Outcome.READ_TIMEOUT, self.deadline)

    def abandon(self) -> None:
        """End it as UNKNOWN: too late to be sent, or the meter stops."""
        self._end(Outcome.UNKNOWN)

    def wire_open(self, now: int) -> None:
        """Write the request, now that we are connected."""
        self.connected = now
        self.flags = self.lane.opened()
        if self._wire is not None:
            self._wire.write(self.lane.request)

    def wire_data(self, data: bytes, now: int) -> None:
        """Read the answer, or a part of it."""
        if not self.first:
            self.first = now
        self._answer.feed(data)
        if self._answer.ended:
            self._end(self._answer.outcome(self.lane.expect_status, self.lane.expect_body))

    def wire_lost(self, error: int) -> None:
        """End it with the connection."""
        if not self.connected:
            self._end(_dial_outcome(error))
        elif error == EOF:
            self._answer.feed_eof()
            self._end(self._answer.outcome(self.lane.expect_status, self.lane.expect_body))
        elif error in LOCAL_ERRORS:
            self._end(Outcome.LOCAL_ERROR)
        else:
            self._end(Outcome.RESET)

    def _end(self, outcome: Outcome, done: int | None = None) -> None:
        """Fix the outcome, give the connection back or break it, and tell the lane. `done` is now unless given."""
        if self.outcome is not None:
            return
        self.outcome = outcome
        if outcome is not Outcome.UNKNOWN:
            self.done = done or monotonic_ns()
        wire, self._wire = self._wire, None
        kept = wire if self._answer.ended and self._answer.keep else None
        if wire is not None and kept is None:
            if self._answer.ended:
                wire.close()
            else:
                wire.abort()
        self._answer.release()
        self.lane.record(self)
        self.lane.ended(self, kept)


def _dial_outcome(error: int) -> Outcome:
    """Class of a dial that failed. A network that says no (no route, no host) counts as a refusal."""
    if error in LOCAL_ERRORS:
        return Outcome.LOCAL_ERROR
    return _DIAL_OUTCOMES.get(error, Outcome.REFUSED)
