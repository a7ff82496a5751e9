"""The System V shared memory that a killed PostgreSQL leaves behind. Its data folder is the only record of it.

Standard library only: the keeper process imports this.
"""

from __future__ import annotations

import ctypes
import time
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

_IPC_RMID = 0
_SHMEM_LINE = 6  # of postmaster.pid, counted from 0: "key shmid"
_libc = ctypes.CDLL(None, use_errno=True)


class Segment(NamedTuple):
    """A shared memory segment: its id, the pid that made it, and how many processes have it attached."""

    shmid: int
    creator: int
    attached: int


def segments() -> dict[int, Segment]:
    """List the segments of this machine by id."""
    lines = Path("/proc/sysvipc/shm").read_text().splitlines()[1:]
    rows = [[int(word) for word in line.split()] for line in lines]
    return {row[1]: Segment(shmid=row[1], creator=row[4], attached=row[6]) for row in rows}


def postmasters(folder: Path) -> Iterator[tuple[int, int | None]]:
    """Find the PostgreSQL data folders in or below a folder; gives the pid and the segment id each lock file names."""
    for lock_file in chain(*(folder.glob(f"{'*/' * depth}postmaster.pid") for depth in range(3))):
        with suppress(OSError, ValueError, IndexError):
            lines = lock_file.read_text().splitlines()
            yield int(lines[0]), int(lines[_SHMEM_LINE].split()[1]) if len(lines) > _SHMEM_LINE else None


def remove_orphaned(folder: Path, within_s: float) -> tuple[list[Segment], list[Segment]]:
    """Remove the segments of the PostgreSQL data folders in or below a folder; gives the removed, and those in use.

    A living postmaster has its segment attached; when it was killed, its children hold on for a moment, so this waits.
    A segment that another process made is not ours, whatever the id says.
    """
    ends = time.monotonic() + within_s
    while any(segment.attached for segment in _of(folder)) and time.monotonic() < ends:
        time.sleep(0.01)
    found = _of(folder)
    removed = [
        segment for segment in found if not segment.attached and _libc.shmctl(segment.shmid, _IPC_RMID, None) == 0
    ]
    return removed, [segment for segment in found if segment.attached]


def _of(folder: Path) -> list[Segment]:
    known = segments()
    named = ((pid, known.get(shmid)) for pid, shmid in postmasters(folder) if shmid is not None)
    return [segment for pid, segment in named if segment is not None and segment.creator == pid]
