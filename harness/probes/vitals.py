"""What the kernel says of us and of the machine: processor time, how long we waited for it, and a step of the wall clock.

Descriptors are kept open: later there may be none left. A kernel without a file gives null in its place.
"""

from __future__ import annotations

import os
import threading
import time
from time import monotonic_ns, time_ns
from typing import Final

_BYTES: Final = 512
_STEAL_COLUMN: Final = 8
_TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")


class Vitals:
    """Differences since the row before."""

    def __init__(self) -> None:
        self._cpu_s = time.process_time()
        self._stat = _open("/proc/stat")
        self._pressure = _open("/proc/pressure/cpu")
        # Ours is the thread that measures: the main one.
        self._sched = _open(f"/proc/self/task/{threading.main_thread().native_id}/schedstat")
        self._steal_s = self._read_steal_s()
        self._pressed_s = self._read_pressure()[1]
        self._waited_s = self._read_waited_s()

    def row(self) -> dict[str, object]:
        """Give the numbers of one row.

        ```
        cpu_s           processor time of the process
        wait_s          time the measuring thread was ready and had no processor
        steal_s         processor time the machine was denied by its host, summed over its processors
        psi_cpu_avg10   share of the last 10 s, in percent, in which some task of the machine waited for a processor
        psi_cpu_s       the same since the last row, in seconds
        wall_offset_ns  wall clock minus CLOCK_MONOTONIC: what changes in it by more than a few milliseconds was a step
        ```
        """
        cpu_s, steal_s, waited_s = time.process_time(), self._read_steal_s(), self._read_waited_s()
        avg10, pressed_s = self._read_pressure()
        row: dict[str, object] = {
            "cpu_s": round(cpu_s - self._cpu_s, 4),
            "wait_s": _since(waited_s, self._waited_s, 4),
            "steal_s": _since(steal_s, self._steal_s, 2),
            "psi_cpu_avg10": avg10,
            "psi_cpu_s": _since(pressed_s, self._pressed_s, 4),
            "wall_offset_ns": wall_offset_ns(),
        }
        self._cpu_s, self._steal_s, self._waited_s, self._pressed_s = cpu_s, steal_s, waited_s, pressed_s
        return row

    def close(self) -> None:
        """Let go of the files."""
        for fd in (self._stat, self._pressure, self._sched):
            if fd >= 0:
                os.close(fd)

    def _read_steal_s(self) -> float | None:
        """Read since boot."""
        fields = _read(self._stat).split(b"\n", 1)[0].split()
        return int(fields[_STEAL_COLUMN]) / _TICKS_PER_S if len(fields) > _STEAL_COLUMN else None

    def _read_waited_s(self) -> float | None:
        """Read since the thread began; `schedstat` is time on the processor, time in its queue, turns."""
        fields = _read(self._sched).split()
        return int(fields[1]) / 1e9 if len(fields) > 1 else None

    def _read_pressure(self) -> tuple[float | None, float | None]:
        """Read `some avg10=0.00 avg60=0.00 avg300=0.00 total=0`: avg10 in percent, total in seconds since boot."""
        words = _read(self._pressure).split(b"\n", 1)[0].split()
        if len(words) < 5 or words[0] != b"some":
            return None, None
        return float(words[1].removeprefix(b"avg10=")), int(words[4].removeprefix(b"total=")) / 1e6


def wall_offset_ns() -> int:
    """Wall clock minus CLOCK_MONOTONIC, now. Of three tries the one that took the least time, as we may be interrupted."""
    best, offset = 1 << 62, 0
    for _ in range(3):
        before = monotonic_ns()
        wall = time_ns()
        after = monotonic_ns()
        if after - before < best:
            best, offset = after - before, wall - (before + after) // 2
    return offset


def _since(now: float | None, before: float | None, digits: int) -> float | None:
    return None if now is None or before is None else round(now - before, digits)


def _open(path: str) -> int:
    try:
        return os.open(path, os.O_RDONLY)
    except OSError:
        return -1


def _read(fd: int) -> bytes:
    try:
        return os.pread(fd, _BYTES, 0)
    except OSError:
        return b""  # also for -1, and for pressure that the kernel was told not to account
