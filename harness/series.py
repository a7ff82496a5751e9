"""One probe lane as a series of due slots, and what can be read off it: outages, bad slots, quantiles.

A slot is *ok*, *slow*, *bad* or *unknown*. Slow is good for availability and bad for a brown-out. Unknown (not sent in
time, in flight at the stop, or bad while the meter itself stood still) is neither: it widens the bounds. A slot that was
bad at its deadline stays bad when its answer comes later; only its latency is then known (`follow`).
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from dataclasses import dataclass, field
from math import ceil
from typing import TYPE_CHECKING, NamedTuple

from harness.edges import edges
from harness.records import UNDECIDED, Outcome

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from harness.records import Slot

SECOND = 1_000_000_000
_Z = 1.96
NOT_SENT = -1
"""Lateness of a slot that was never sent: there was no time for it, or its line was not free before its deadline."""


class Interval(NamedTuple):
    """A moment or a duration known within [lo, hi], in nanoseconds."""

    lo: int
    hi: int


class Outage(NamedTuple):
    """Consecutive bad slots of one lane: when it began and ended, each within bounds, and how many slots it cost."""

    start: Interval
    end: Interval
    slots: int

    @property
    def length(self) -> Interval:
        """Shortest and longest duration in nanoseconds the slots allow."""
        return Interval(max(0, self.end.lo - self.start.hi), self.end.hi - self.start.lo)


@dataclass(frozen=True)
class Lane:
    """A lane's identity: what it asks, of whom, how often. `kind` is fresh, pinned or db."""

    id: int
    target: str
    role: str
    kind: str
    rate_hz: float


@dataclass
class Series:
    """All slots of a lane in the order they were due. Columns, because a run has a million of them."""

    lane: Lane
    slot: array[int] = field(default_factory=lambda: array("L"))
    intended: array[int] = field(default_factory=lambda: array("q"))
    latency: array[int] = field(default_factory=lambda: array("q"))
    lateness: array[int] = field(default_factory=lambda: array("q"))
    outcome: array[int] = field(default_factory=lambda: array("B"))
    upstream: array[int] = field(default_factory=lambda: array("H"))
    late: dict[int, int] = field(default_factory=dict)
    """Slots whose answer came after their deadline, with its latency in nanoseconds."""
    lost: dict[int, int] = field(default_factory=dict)
    """Slots that were followed past their deadline and got no good answer, and for how long that is certain."""
    blurred: set[int] = field(default_factory=set)
    """Indices of slots that were answered well, but for most of their time the meter stood still: how soon, it cannot say."""

    def append(self, record: Slot) -> None:
        """Add one record, in any order; `sort` puts them right."""
        self.slot.append(record.slot)
        self.intended.append(record.intended)
        self.latency.append(record.done - record.intended if record.done else 0)
        self.lateness.append(record.sent - record.intended if record.sent else NOT_SENT)
        self.outcome.append(record.outcome)
        self.upstream.append(record.upstream)

    def follow(self, record: Slot) -> None:
        """Add how a slot ended that had not been answered at its deadline."""
        if record.outcome == Outcome.OK:
            self.late[record.slot] = record.done - record.intended
        elif record.done:
            self.lost[record.slot] = record.done - record.intended

    def sort(self, stalls: Sequence[Interval] = ()) -> Series:
        """Order by slot, and call bad slots that overlap a stall of the meter unknown, good ones blurred. Returns itself."""
        slots = self.slot
        if any(slots[i] > slots[i + 1] for i in range(len(slots) - 1)):
            order = sorted(range(len(slots)), key=slots.__getitem__)
            for name in ("slot", "intended", "latency", "lateness", "outcome", "upstream"):
                column = getattr(self, name)
                setattr(self, name, array(column.typecode, [column[i] for i in order]))
        for stall in stalls:
            self._excuse(stall)
        return self

    def _excuse(self, stall: Interval) -> None:
        # A slot due up to two seconds before the stall may still have been in flight when it began.
        low = bisect_left(self.intended, stall.lo - 2 * SECOND)
        for i in range(low, bisect_left(self.intended, stall.hi)):
            if self.done(i) < stall.lo:
                continue
            if self.outcome[i] != Outcome.OK:
                self.outcome[i] = Outcome.UNKNOWN
            elif 2 * (min(stall.hi, self.done(i)) - max(stall.lo, self.intended[i])) > self.latency[i]:
                self.blurred.add(i)

    def range(self, window: Interval) -> range:
        """Indices of the slots due in [lo, hi)."""
        return range(bisect_left(self.intended, window.lo), bisect_left(self.intended, window.hi))

    def bad(self, i: int) -> bool:
        """Whether slot `i` certainly failed."""
        return self.outcome[i] != Outcome.OK and self.outcome[i] not in UNDECIDED

    def was_sent(self, i: int) -> bool:
        """Whether slot `i` went out at all."""
        return self.lateness[i] != NOT_SENT

    def sent(self, i: int) -> int:
        """Monotonic ns at which slot `i` was sent, or due if it never was."""
        return self.intended[i] + max(0, self.lateness[i])

    def done(self, i: int) -> int:
        """Monotonic ns at which slot `i` was over."""
        return self.intended[i] + self.latency[i]

    def count_bad(self, window: Interval) -> tuple[int, int, int]:
        """Return (bad, unknown, due) slots of the window; slots without any record count as unknown."""
        inside = self.range(window)
        bad = sum(1 for i in inside if self.bad(i))
        unknown = sum(1 for i in inside if self.outcome[i] in UNDECIDED)
        missing = self._missing(inside, window)
        return bad, unknown + missing, len(inside) + missing

    def _missing(self, inside: Sequence[int], window: Interval) -> int:
        step = SECOND / self.lane.rate_hz
        if not inside:
            return int((window.hi - window.lo) / step)
        holes = self.slot[inside[-1]] - self.slot[inside[0]] + 1 - len(inside)
        # A slot is due in the window when its moment lies in [lo, hi): the last one owns the step after it.
        before, after = self.intended[inside[0]] - window.lo, window.hi - self.intended[inside[-1]] - 1
        return holes + int(before / step) + int(after / step)

    def outages(self, window: Interval, *, unknown_is_bad: bool = False) -> Iterator[Outage]:
        """Runs of consecutive bad slots that begin inside the window.

        Unknown slots neither begin nor end one; with `unknown_is_bad` they count as bad, for an upper bound.
        """
        before = -1
        run: list[int] = []
        for i in self.range(window):
            if self.bad(i) or (unknown_is_bad and self.outcome[i] in UNDECIDED):
                run.append(i)
            elif self.outcome[i] not in UNDECIDED:
                if run:
                    yield self._outage(window, before, run, i)
                    run = []
                before = i
        if run:
            yield self._outage(window, before, run, -1)

    def _outage(self, window: Interval, before: int, run: list[int], after: int) -> Outage:
        begin_lo, begin_hi, end_lo, end_hi = edges(self, before, run, after)
        begin_lo = window.lo if before < 0 else begin_lo
        end_hi = end_hi if after >= 0 else max(window.hi, end_lo)
        begin_hi = end_hi if begin_hi < 0 else begin_hi
        return Outage(Interval(begin_lo, max(begin_lo, begin_hi)), Interval(max(begin_lo, end_lo), end_hi), len(run))

    def good_latencies(self, window: Interval) -> list[int]:
        """Latencies in nanoseconds from the intended time of all answered slots of the window, sorted."""
        return sorted(self.latency[i] for i in self._clear(window) if self.outcome[i] == Outcome.OK)

    def all_latencies(self, window: Interval) -> list[int]:
        """Latencies of every decided slot, sorted; an unanswered one counts for as long as it was waited for.

        That is exact for an answer that came after the deadline and was followed, else a lower bound.
        """
        inside = (i for i in self._clear(window) if self.outcome[i] not in UNDECIDED)
        return sorted(max(self.latency[i], self._waited(self.slot[i])) for i in inside)

    def _waited(self, slot: int) -> int:
        return self.late.get(slot) or self.lost.get(slot, 0)

    def served_late(self, window: Interval) -> int:
        """Bad slots of the window whose good answer came after the deadline: slow then, not lost."""
        return sum(self.slot[i] in self.late for i in self.range(window) if self.bad(i)) if self.late else 0

    def count_slow(self, window: Interval, limit_ns: int) -> int:
        """Good slots of the window that took longer than `limit_ns`: with them a brown-out is counted."""
        return sum(1 for i in self._clear(window) if self.outcome[i] == Outcome.OK and self.latency[i] > limit_ns)

    def _clear(self, window: Interval) -> Iterator[int]:
        return (i for i in self.range(window) if i not in self.blurred)


def quantile_interval(ordered: Sequence[int], q: float) -> Interval | None:
    """95 % order-statistic interval of a quantile of sorted values; None when there are too few for an upper bound."""
    n = len(ordered)
    spread = _Z * (n * q * (1 - q)) ** 0.5
    low, high = round(n * q - spread), round(n * q + spread)
    return Interval(ordered[max(0, low)], ordered[high]) if n and high < n else None


def quantile(ordered: Sequence[int], q: float) -> int:
    """Nearest-rank quantile of sorted values; raise ValueError on none."""
    if not ordered:
        raise ValueError("no samples")
    return ordered[max(0, ceil(q * len(ordered)) - 1)]


def degraded(series: Series, window: Interval, share: float = 0.01) -> float:
    """Seconds of the window in which more than `share` of the slots of a sliding second were bad."""
    inside = series.range(window)
    total, start, bad = 0.0, inside.start, 0
    for i in inside:
        bad += series.bad(i)
        while series.intended[i] - series.intended[start] >= SECOND:
            bad -= series.bad(start)
            start += 1
        if bad > share * (i - start + 1):
            total += 1 / series.lane.rate_hz
    return total


def first_index(series: Series, since: int, good: bool) -> int | None:
    """Index of the first good (or bad) slot due at or after `since`."""
    for i in range(bisect_left(series.intended, since), len(series.intended)):
        if series.outcome[i] == Outcome.OK if good else series.bad(i):
            return i
    return None
