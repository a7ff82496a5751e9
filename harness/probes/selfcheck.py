"""The meter's eye on itself: how late it sends, when it was not running, what it costs.

An open loop without this blames the server for every pause of its own.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from time import monotonic_ns
from typing import Final

from harness.probes.vitals import Vitals

BEAT: Final = 10_000_000
"""The loop is to beat at least this often, in nanoseconds; the schedule's timer sees to it."""
_STALL: Final = 50_000_000
_WATCH_S: Final = 0.005
_PERIODS: Final = 4
"""Report periods in one row of the record."""
_KEPT_STALLS: Final = 1000


class SelfCheck:
    """Two watches over one process: the event loop beats with every tick of the schedule, and a thread sleeps 5 ms.

    A gap of more than 50 ms in either is a stall [from, to] in monotonic nanoseconds. The loop sees its own slow
    callbacks as well as a stopped process, and beats 600 times a second at 600 slots a second; the thread sees what the
    kernel does to the process while the loop has nothing to do. (Sleeping 5 ms the thread takes 0.9 % of a processor,
    1 ms 2.1 %, of 16 % for the whole meter at that rate: too much for edges of 50 ms gaps that the beats give already.)
    """

    def __init__(self) -> None:
        self.stalls = 0
        """Stalls so far, one per gap even if both watches saw it."""
        self.lateness_p99_ms = 0.0
        """Over the last second."""
        self._last_beat = monotonic_ns()
        self._loop_stalls: deque[tuple[int, int]] = deque(maxlen=_KEPT_STALLS)
        self._fresh_stalls: deque[tuple[int, int]] = deque()  # deque: the thread appends to it
        self._told_until = 0
        self._lateness: deque[list[int]] = deque([[]], maxlen=_PERIODS)
        self._sent = 0
        self._unknown = 0
        self._period = 0
        self._vitals = Vitals()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="stall-watch", daemon=True)

    def start(self) -> None:
        """Begin both watches."""
        self._last_beat = monotonic_ns()
        self._thread.start()

    def stop(self) -> None:
        """End both watches."""
        self._over.set()
        self._thread.join()
        self._vitals.close()

    def beat(self, now: int) -> None:
        """Note that the loop runs; whoever is called by a timer may say so."""
        if now - self._last_beat > _STALL + BEAT:
            stall = (self._last_beat, now)
            self._loop_stalls.append(stall)
            self._fresh_stalls.append(stall)
        self._last_beat = now

    def fired(self, lateness_ns: int, *, sent: bool) -> None:
        """Note a slot that was due, and whether it was sent; one that was not is dropped (`unknown` in the rows)."""
        self._lateness[-1].append(lateness_ns)
        if sent:
            self._sent += 1
        else:
            self._unknown += 1

    def stalled_ns(self, start: int, end: int) -> int:
        """How much of [start, end] the loop was not running."""
        return sum(max(0, min(end, to) - max(start, since)) for since, to in self._loop_stalls)

    def report(self, now: int, *, final: bool) -> list[dict[str, object]]:
        """Rows since the last call: new stalls, and once a second, and at the end, the numbers since the last such row.

        To be called every 250 ms.
        """
        rows: list[dict[str, object]] = [{"stall": stall} for stall in self._new_stalls()]
        lateness = sorted(value for part in self._lateness for value in part)
        self.lateness_p99_ms = _quantile_ms(lateness, 0.99)
        self._period += 1
        if final or self._period % _PERIODS == 0:
            rows.append(self._second(now, lateness))
        self._lateness.append([])
        return rows

    def _second(self, now: int, lateness: list[int]) -> dict[str, object]:
        row: dict[str, object] = {
            "t_ns": now,
            "lateness_p50_ms": _quantile_ms(lateness, 0.5),
            "lateness_p99_ms": self.lateness_p99_ms,
            "lateness_max_ms": _quantile_ms(lateness, 1.0),
            "sent": self._sent,
            "unknown": self._unknown,
            **self._vitals.row(),
        }
        self._sent = self._unknown = 0
        return row

    def _new_stalls(self) -> list[tuple[int, int]]:
        """Join what both watches saw of the same gap. Either may come after the other's was told."""
        joined: list[tuple[int, int]] = []
        for seen_since, to in sorted(self._fresh_stalls.popleft() for _ in range(len(self._fresh_stalls))):
            since = max(seen_since, self._told_until)
            if joined and since <= joined[-1][1]:
                joined[-1] = (joined[-1][0], max(to, joined[-1][1]))
            elif to - since > _STALL:
                joined.append((since, to))
        if joined:
            self._told_until = joined[-1][1]
            self.stalls += len(joined)
        return joined

    def _watch(self) -> None:
        before = monotonic_ns()
        while not self._over.is_set():
            time.sleep(_WATCH_S)
            now = monotonic_ns()
            if now - before > _STALL + int(_WATCH_S * 1e9):
                self._fresh_stalls.append((before, now))
            before = now


def _quantile_ms(ordered: list[int], q: float) -> float:
    """Nearest-rank quantile of nanoseconds, in milliseconds; 0 of nothing."""
    return round(ordered[min(len(ordered) - 1, int(q * len(ordered)))] / 1e6, 3) if ordered else 0.0
