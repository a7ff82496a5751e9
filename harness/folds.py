"""Incremental folds over slots: *proven*, *healed* and *stable*.

The runner uses them while it happens and the judge afterwards, so that both always agree.

A fold looks at each lane alone and latches. What it says cannot depend on how slots of different lanes interleave.
`InOrder` puts the slots of a lane into due order first: records are written when slots end.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from harness.records import UNDECIDED, Outcome
from harness.series import SECOND, Interval, quantile

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from harness.records import Slot

STABLE_S = 5.0
"""A recovery is stable when it lasts this long (measured in due time)."""
STABLE_ERRORS = 0.01
NEVER = 1 << 62
"""In nanoseconds, later than any slot ends."""


@dataclass
class InOrder:
    """Releases the slots of every lane in due order, as soon as all earlier ones of the lane are there."""

    _next: dict[int, int] = field(default_factory=dict)
    _waiting: dict[int, dict[int, Slot]] = field(default_factory=dict)

    def feed(self, slots: Iterable[Slot]) -> Iterator[Slot]:
        """Take slots as written, yield those that are due next."""
        for slot in slots:
            waiting = self._waiting.setdefault(slot.lane, {})
            waiting[slot.slot] = slot
            due = self._next.get(slot.lane, 0)
            while due in waiting:
                yield waiting.pop(due)
                due += 1
            self._next[slot.lane] = due


@dataclass
class Latch:
    """`need` slots in a row that fit, on one lane, due at or after `since`.

    A slot fits when its outcome is in `outcomes` and its latency in [`least_ns`, `below_ns`). `at` is the bracket of the
    first slot of that row, (due time of the slot before it, its own end], or None so far.
    """

    lane: int
    outcomes: frozenset[int]
    need: int
    since: int
    least_ns: int = 0
    below_ns: int = NEVER
    at: Interval | None = None
    seen: str = "nothing yet"
    _row: int = 0
    _first: Interval | None = None
    _before: int = 0

    @property
    def done(self) -> bool:
        """Whether it latched."""
        return self.at is not None

    def feed(self, slot: Slot) -> None:
        """Look at one slot; slots of other lanes, and undecided ones, change nothing."""
        if slot.lane != self.lane or slot.intended < self.since or self.at or slot.outcome in UNDECIDED:
            return
        self.seen = Outcome(slot.outcome).name.lower().replace("_", " ")
        if self.least_ns or self.below_ns != NEVER:
            self.seen += f" after {slot.latency_ns / 1e6:.1f} ms"
        if not self._fits(slot):
            self._row, self._before = 0, slot.intended
            return
        self._row += 1
        if self._row == 1:
            self._first = Interval(self._before or self.since, slot.done)
        if self._row >= self.need:
            self.at = self._first

    def _fits(self, slot: Slot) -> bool:
        return slot.outcome in self.outcomes and self.least_ns <= slot.latency_ns < self.below_ns


@dataclass
class Proof:
    """A fault is proven when every target's lane shows the effect and at least one control stays good meanwhile."""

    targets: list[Latch]
    controls: list[Latch]

    def feed(self, slot: Slot) -> None:
        """Look at one slot."""
        for latch in (*self.targets, *self.controls):
            latch.feed(slot)

    @property
    def done(self) -> bool:
        """Whether it is proven. Without any control lane the effect could be ours, so it never is."""
        return all(t.at for t in self.targets) and self.apart

    @property
    def apart(self) -> bool:
        """Whether a control stayed good: what the targets show, or do not show, is then theirs."""
        return any(c.at for c in self.controls)

    @property
    def seen(self) -> str:
        """What the lanes showed last, for people."""
        parts = [f"target lane {t.lane}: {t.seen}" for t in self.targets]
        return "; ".join(parts + [f"control lane {c.lane}: {c.seen}" for c in self.controls])


@dataclass
class Healed:
    """Every target's lane is good again."""

    targets: list[Latch]

    def feed(self, slot: Slot) -> None:
        """Look at one slot."""
        for latch in self.targets:
            latch.feed(slot)

    @property
    def done(self) -> bool:
        """Whether all targets answered well in a row."""
        return all(t.at for t in self.targets)

    @property
    def seen(self) -> str:
        """What the lanes showed last."""
        return "; ".join(f"target lane {t.lane}: {t.seen}" for t in self.targets)


@dataclass
class Stable:
    """One lane: 5 s with at most 1 % errors and p95 within the limit. `at` brackets where that stretch began."""

    lane: int
    since: int
    p95_limit: int
    length: float = STABLE_S
    at: Interval | None = None
    seen: str = "nothing yet"
    _window: deque[tuple[int, int, int]] = field(default_factory=deque)
    _bad: int = 0
    _before: int = 0
    """Due time of the last slot that left the window: the stretch cannot have begun at or before it."""

    def feed(self, slot: Slot) -> None:
        """Look at one slot."""
        if slot.lane != self.lane or slot.intended < self.since or self.at or slot.outcome in UNDECIDED:
            return
        bad = slot.outcome != Outcome.OK
        self._window.append((slot.intended, slot.done, bad))
        self._bad += bad
        span = int(self.length * SECOND)
        while slot.intended - self._window[0][0] > span:
            self._before, _, was_bad = self._window.popleft()
            self._bad -= was_bad
        errors = self._bad / len(self._window)
        self.seen = f"{errors:.1%} errors in the last {self.length:g} s"
        if slot.intended - self.since < span or errors > STABLE_ERRORS:
            return
        good = sorted(done - due for due, done, was_bad in self._window if not was_bad)
        p95 = quantile(good, 0.95)
        self.seen += f", p95 {p95 / 1e6:.0f} ms (limit {self.p95_limit / 1e6:.0f} ms)"
        if p95 <= self.p95_limit:
            self.at = self._start()

    def _start(self) -> Interval:
        before = self._before or self.since
        for due, done, bad in self._window:
            if not bad:
                return Interval(before, done)
            before = due
        raise AssertionError("a window with at most 1 % errors has a good slot")


@dataclass
class AllStable:
    """Every given lane is stable; the run's recovery is the latest of them."""

    lanes: list[Stable]

    def feed(self, slot: Slot) -> None:
        """Look at one slot."""
        for lane in self.lanes:
            lane.feed(slot)

    @property
    def done(self) -> bool:
        """Whether all lanes are stable."""
        return all(lane.at for lane in self.lanes)

    @property
    def seen(self) -> str:
        """What the lanes showed last."""
        return "; ".join(f"lane {lane.lane}: {lane.seen}" for lane in self.lanes)

    @property
    def at(self) -> Interval | None:
        """Bracket of the moment from which all were stable."""
        brackets = [lane.at for lane in self.lanes if lane.at]
        if len(brackets) < len(self.lanes):
            return None
        return Interval(max(b.lo for b in brackets), max(b.hi for b in brackets))


def p95_limit(baseline_p95: int) -> int:
    """Latency in ns under which a lane counts as recovered: max(1.5 x baseline, baseline + 20 ms)."""
    return max(baseline_p95 * 3 // 2, baseline_p95 + 20_000_000)


@dataclass
class Serving:
    """Every expected upstream has answered well, `need` times, on one of the given lanes, since `since`."""

    lanes: frozenset[int]
    upstreams: frozenset[int]
    since: int
    need: int = 3
    counts: dict[int, int] = field(default_factory=dict)

    def feed(self, slot: Slot) -> None:
        """Look at one slot."""
        if slot.lane in self.lanes and slot.intended >= self.since and slot.outcome == Outcome.OK:
            self.counts[slot.upstream] = self.counts.get(slot.upstream, 0) + 1

    @property
    def done(self) -> bool:
        """Whether all of them serve."""
        return all(self.counts.get(port, 0) >= self.need for port in self.upstreams)

    @property
    def seen(self) -> str:
        """Who serves so far."""
        return (
            f"{sum(self.counts.get(p, 0) >= self.need for p in self.upstreams)} of {len(self.upstreams)} replicas serve"
        )


@dataclass
class Every:
    """Several folds that must all be done."""

    folds: list[AllStable | Serving | Proof | Healed]

    def feed(self, slot: Slot) -> None:
        """Look at one slot."""
        for fold in self.folds:
            fold.feed(slot)

    @property
    def done(self) -> bool:
        """Whether all are."""
        return all(fold.done for fold in self.folds)

    @property
    def seen(self) -> str:
        """What each saw last."""
        return "; ".join(fold.seen for fold in self.folds)
