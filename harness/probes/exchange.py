"""One slot of one lane, from the moment it is due until its one outcome."""

from __future__ import annotations

import errno
from abc import ABC, abstractmethod
from enum import IntEnum
from time import monotonic_ns
from typing import TYPE_CHECKING, Final

from harness.probes.tcp import EOF, LOCAL_ERRORS, TLS_FAILED
from harness.records import Outcome

if TYPE_CHECKING:
    from harness.probes.lanes import Lane

_DIAL_OUTCOMES: Final = {errno.ECONNRESET: Outcome.RESET, errno.ETIMEDOUT: Outcome.CONNECT_TIMEOUT}


class Phase(IntEnum):
    """What an exchange waits for. Each has a limit of its own in the plan (`timeouts`), beside the deadline of the whole."""

    DUE = 0
    """Its turn: it is not sent."""
    CONNECT = 1
    TLS = 2
    """The end of the handshake."""
    FIRST_BYTE = 3
    """The first byte of the answer, now that the request is sent."""
    REST = 4
    """The rest of the answer."""


_TIMEOUTS: Final = {Phase.CONNECT: Outcome.CONNECT_TIMEOUT, Phase.TLS: Outcome.TLS_TIMEOUT}


class Exchange(ABC):
    """A request: due, perhaps sent, and over exactly once. Times in monotonic nanoseconds, 0 if not reached.

    ```
    due ──> dialled ──> connected (──> secured) ──> sent ──> first byte ──> over
     └─────────┴────────────┴──────────────┴─────────┴──────────┴─── expire, lost, abandon ──> over
    ```
    A request on a kept connection goes from due to sent at once.
    """

    __slots__ = (
        "connected",
        "deadline",
        "done",
        "first",
        "flags",
        "intended",
        "lane",
        "outcome",
        "phase",
        "sent",
        "slot",
        "status",
        "upstream",
    )

    def __init__(self, lane: Lane, slot: int, intended: int) -> None:
        self.lane = lane
        self.slot = slot
        self.intended = intended
        self.deadline = intended + lane.deadline_ns
        self.sent = self.connected = self.first = self.done = 0
        self.flags = 0
        self.status = 0
        """HTTP status of the answer, 0 without one."""
        self.upstream = 0
        """Port of the replica that answered, 0 if unknown."""
        self.phase = Phase.DUE
        self.outcome: Outcome | None = None

    def expire(self, at: int, *, unattended: bool) -> None:
        """End it at a limit; as UNKNOWN when we were not there to see what the server did."""
        if unattended:
            self.end(Outcome.UNKNOWN)
        else:
            self.end(_TIMEOUTS.get(self.phase, Outcome.READ_TIMEOUT), at)

    def abandon(self) -> None:
        """End it as UNKNOWN: too late to be sent, or the meter stops."""
        self.end(Outcome.UNKNOWN)

    @abstractmethod
    def go(self) -> None:
        """Send it, now or as soon as its lane allows."""

    @abstractmethod
    def finish(self) -> None:
        """Hand the record over and let the lane know. Called once, when the outcome is fixed."""

    def enter(self, phase: Phase, now: int) -> None:
        """Go on to a phase, under its limit."""
        self.phase = phase
        if self.lane.phases is not None:
            self.lane.phases.enter(self, now)

    def end(self, outcome: Outcome, at: int | None = None) -> None:
        """Fix the outcome and hand the record over. It ended now, unless `at` says when. Only the first end counts."""
        if self.outcome is not None:
            return
        self.outcome = outcome
        if outcome is not Outcome.UNKNOWN:
            self.done = at or monotonic_ns()
        self.finish()


def dial_outcome(error: int, *, connected: bool) -> Outcome:
    """Class of a dial that failed, by an errno, EOF or TLS_FAILED.

    A network that says no (no route, no host) counts as a refusal. `connected` says that only TLS was missing.
    """
    if error in LOCAL_ERRORS:
        return Outcome.LOCAL_ERROR
    if error == TLS_FAILED:
        return Outcome.TLS_ERROR
    if connected:
        return Outcome.CLOSED if error == EOF else Outcome.RESET
    return _DIAL_OUTCOMES.get(error, Outcome.REFUSED)


def lost_outcome(error: int) -> Outcome:
    """Class of a connection that was lost with a request in flight, by an errno, EOF or TLS_FAILED."""
    if error in LOCAL_ERRORS:
        return Outcome.LOCAL_ERROR
    return {EOF: Outcome.CLOSED, TLS_FAILED: Outcome.TLS_ERROR}.get(error, Outcome.RESET)
