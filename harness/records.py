"""Fixed-size records: one per probe slot (`slots.bin`), two per load request (`load-N.bin`).

`late.bin` has the slots that were bad by READ_TIMEOUT in `slots.bin` and were followed further: the same lane and slot
number, and how it really ended. Nothing in it changes what `slots.bin` says.

All times are CLOCK_MONOTONIC in nanoseconds, 0 where the step was never reached. Files have no header: a file's length
divided by the record's size is its count, and a torn last record is dropped and counted by the reader.
"""

from __future__ import annotations

from enum import IntEnum
from struct import Struct
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_CHUNK = 4096  # records per read: 224 KiB of slots


class Outcome(IntEnum):
    """How a request ended, as the client saw it."""

    OK = 0
    REFUSED = 1
    CONNECT_TIMEOUT = 2
    RESET = 3
    """The connection was reset while the request was in flight."""
    CLOSED = 4
    """The connection was closed without a complete answer."""
    READ_TIMEOUT = 5
    """Connected and sent, but no complete answer before the deadline."""
    SERVER_ERROR = 6
    """A 5xx status, also the balancer's own 502 to 504."""
    OTHER_STATUS = 7
    WRONG_BODY = 8
    """The status was right and the content was not."""
    MALFORMED = 9
    """The bytes were not HTTP, or after an upgrade not WebSocket."""
    UNKNOWN = 10
    """The slot was not sent in time or still in flight when the meter stopped: nobody can say."""
    LOCAL_ERROR = 11
    """Our own side failed (no file descriptor, no port): counts like UNKNOWN."""
    TLS_ERROR = 12
    """The certificate was refused, or the handshake went wrong."""
    TLS_TIMEOUT = 13
    """Connected, but the handshake did not finish in time."""
    RATE_LIMITED = 14
    """A 429. Our own rate is at fault; it says nothing about availability, so it counts like UNKNOWN."""
    UNAUTHORIZED = 15
    """A 401 that means it: a token that expired or was withdrawn. Bad, but by our own doing."""


UNDECIDED: Final = frozenset({Outcome.UNKNOWN, Outcome.LOCAL_ERROR, Outcome.RATE_LIMITED})


def of_status(status: int, body: bytes | bytearray) -> Outcome:
    """Class of a complete answer whose status is not the wanted one.

    Builds before coder/coder PR #23352 answer 401 while their database is away; only the text "Internal error" in the
    body tells that from a token that is no longer good (coderd/httpmw/apikey.go).
    """
    if 500 <= status <= 599:
        return Outcome.SERVER_ERROR
    if status == 429:
        return Outcome.RATE_LIMITED
    if status == 401 and b"internal error" not in body.lower():
        return Outcome.UNAUTHORIZED
    return Outcome.OTHER_STATUS


class Slot(NamedTuple):
    """One due moment of one probe lane. `upstream` is the port of the replica that answered, 0 if unknown."""

    lane: int
    outcome: int
    flags: int
    status: int
    upstream: int
    slot: int
    intended: int
    sent: int
    connected: int
    first: int
    done: int

    @property
    def latency_ns(self) -> int:
        """Time from the *intended* send to the end of the answer."""
        return self.done - self.intended


REDIALLED: Final = 1
"""Flag: the kept connection of a pinned lane was gone, and this slot opened a new one."""

SLOT: Final = Struct("<HBBHHIqqqqq4x")

LOAD_START: Final = 1
"""A request was sent. `size` is how late, in microseconds: it was intended at `t` minus that."""
LOAD_END: Final = 2
LOAD_DROPPED: Final = 3
"""An arrival that was never sent because too many were in flight. `t` is its intended moment."""


class LoadMark(NamedTuple):
    """A mark of one request of the load, by `kind`. `name` indexes the names file beside the records."""

    kind: int
    outcome: int
    status: int
    name: int
    upstream: int
    request: int
    size: int
    t: int


LOAD: Final = Struct("<BBHHHIIq")


def read_slots(path: Path) -> Iterator[Slot]:
    """Yield every whole slot record of `path`, in the order of writing (that is, of completion)."""
    for chunk in _chunks(path, SLOT.size):
        for fields in SLOT.iter_unpack(chunk):
            yield Slot._make(fields)


def read_load(path: Path) -> Iterator[LoadMark]:
    """Yield every whole load mark of `path`, in the order of writing."""
    for chunk in _chunks(path, LOAD.size):
        for fields in LOAD.iter_unpack(chunk):
            yield LoadMark._make(fields)


def torn_bytes(path: Path, record: Struct) -> int:
    """Bytes of a half-written last record, 0 for a whole file."""
    return path.stat().st_size % record.size


def _chunks(path: Path, size: int) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(size * _CHUNK):
            yield chunk[: len(chunk) - len(chunk) % size]
