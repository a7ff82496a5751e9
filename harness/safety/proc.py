"""Processes that cannot be mistaken for one another: a pid together with the moment it started.

Standard library only: the keeper process imports this.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

ProcessState = Literal["running", "frozen", "gone"]


@dataclass(frozen=True)
class ProcessRef:
    """One process of this boot: `start` is in clock ticks since boot, so a recycled pid is a different ref."""

    pid: int
    start: int

    def __str__(self) -> str:
        return f"{self.pid}@{self.start}"

    @classmethod
    def parse(cls, text: str) -> ProcessRef:
        """Read the `pid@start` form back; raises ValueError for anything else."""
        pid, at, start = text.partition("@")
        if not (at and pid.isdecimal() and start.isdecimal()):
            raise ValueError(f"not a process: {text!r}, expected pid@start such as 4711@123456")
        return cls(int(pid), int(start))


class _Stat(NamedTuple):
    """What we read of /proc/PID/stat."""

    state: str
    parent: int
    session: int
    start: int


def ref(pid: int) -> ProcessRef:
    """Name the process that has this pid now; raises ProcessLookupError if there is none."""
    stat = _stat(pid)
    if stat is None:
        raise ProcessLookupError(f"no process {pid}")
    return ProcessRef(pid, stat.start)


def state(process: ProcessRef) -> ProcessState:
    """Tell whether the process runs, is stopped by a signal or a tracer, or is gone (a zombie is gone)."""
    stat = _stat(process.pid)
    if stat is None or stat.start != process.start or stat.state in "ZXx":
        return "gone"
    return "frozen" if stat.state in "Tt" else "running"


def send(process: ProcessRef, signum: int) -> bool:
    """Send a signal to exactly this process; False if it is gone. Raises PermissionError if it is not ours.

    The descriptor pins the process before its start time is compared, so the signal can never reach a later
    process that was given the same pid.
    """
    try:
        pinned = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return False
    try:
        if state(process) == "gone":
            return False
        signal.pidfd_send_signal(pinned, signum)
    except ProcessLookupError:
        return False
    finally:
        os.close(pinned)
    return True


def boot_id() -> str:
    """Name this boot of the kernel; pids and start times mean nothing under another one."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def children(pid: int) -> list[ProcessRef]:
    """List the direct children of a process, zombies included."""
    return [ProcessRef(child, stat.start) for child, stat in _all() if stat.parent == pid]


def descendants(pid: int) -> list[ProcessRef]:
    """List everything below a process, zombies included, parents before their children."""
    below: defaultdict[int, list[ProcessRef]] = defaultdict(list)
    for child, stat in _all():
        below[stat.parent].append(ProcessRef(child, stat.start))
    found = list(below[pid])
    for process in found:  # grows while we walk it
        found.extend(below[process.pid])
    return found


def in_sessions(leaders: Iterable[ProcessRef]) -> list[ProcessRef]:
    """List the living processes in the sessions that these processes lead or led, the leaders included.

    A session outlives its leader, and the kernel gives a pid out again only when no session uses it.
    """
    led = {leader.pid: leader.start for leader in leaders}
    everyone = dict(_all())
    found = []
    for pid, stat in everyone.items():
        started = led.get(stat.session)
        if started is None or stat.start < started or stat.state in "ZXx":
            continue
        leader = everyone.get(stat.session)
        if leader is None or leader.start == started:
            found.append(ProcessRef(pid, stat.start))
    return found


def _all() -> Iterator[tuple[int, _Stat]]:
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            stat = _stat(int(entry.name))
            if stat is not None:
                yield int(entry.name), stat


def _stat(pid: int) -> _Stat | None:
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        line = Path(f"/proc/{pid}/stat").read_text(errors="replace")
        # The command name may hold spaces and brackets; the fields that follow it do not.
        fields = line[line.rindex(")") + 2 :].split()
        return _Stat(fields[0], int(fields[1]), int(fields[3]), int(fields[19]))
    return None
