"""Fixed-size records: one per probe slot (`slots.bin`), two per load request (`load-N.bin`).

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
    """The bytes were not HTTP."""
    UNKNOWN = 10
    """The slot was not sent in time or still in flight when the meter stopped: nobody can say."""
    LOCAL_ERROR = 11
    """Our own side failed (no file descriptor, no port): counts like UNKNOWN."""


UNDECIDED: Final = frozenset({Outcome.UNKNOWN, Outcome.LOCAL_ERROR})


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
LOAD_END: Final = 2


class LoadMark(NamedTuple):
    """The start or the end of one request of the load. `name` indexes the names file beside the records."""

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
