from __future__ import annotations

from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from harness.folds import AllStable, Healed, InOrder, Latch, Proof, Serving, Stable, p95_limit
from harness.records import Outcome, Slot
from harness.series import SECOND

RATE = 20
STEP = SECOND // RATE
START = 1_000 * SECOND
MS = 1_000_000
GOOD = frozenset({int(Outcome.OK)})
REFUSES = frozenset({int(Outcome.REFUSED)})


def slot(number: int, outcome: Outcome = Outcome.OK, latency: int = 2 * MS, lane: int = 0, upstream: int = 0) -> Slot:
    due = START + number * STEP
    return Slot(lane, outcome, 0, 200, upstream, number, due, due, due, due + latency, due + latency)


def fed(fold: Stable, outcomes: list[Outcome]) -> Stable:
    for number, outcome in enumerate(outcomes):
        fold.feed(slot(number, outcome))
    return fold


@given(st.data())
def test_slots_come_out_in_due_order_whatever_the_order_of_writing(data: st.DataObject) -> None:
    lanes = data.draw(st.lists(st.integers(1, 12), min_size=1, max_size=4))
    slots = [slot(n, lane=lane) for lane, count in enumerate(lanes) for n in range(count)]
    shuffled = data.draw(st.permutations(slots))
    order, out = InOrder(), []
    for batch in (shuffled[i : i + 3] for i in range(0, len(shuffled), 3)):
        out += list(order.feed(batch))
    assert sorted(out) == sorted(slots)
    for lane, count in enumerate(lanes):
        assert [s.slot for s in out if s.lane == lane] == list(range(count))


def test_a_hole_holds_back_its_own_lane_only() -> None:
    order = InOrder()
    out = list(order.feed([slot(0), slot(2), slot(0, lane=1), slot(1, lane=1)]))
    assert [(s.lane, s.slot) for s in out] == [(0, 0), (1, 0), (1, 1)]
    assert [s.slot for s in order.feed([slot(1)])] == [1, 2]


@given(st.lists(st.sampled_from([Outcome.OK, Outcome.REFUSED, Outcome.UNKNOWN]), max_size=60), st.integers(1, 5))
def test_a_latch_needs_a_row_and_stays(outcomes: list[Outcome], need: int) -> None:
    latch = Latch(0, REFUSES, need, START)
    for number, outcome in enumerate(outcomes):
        latch.feed(slot(number, outcome))
    decided = [(n, o) for n, o in enumerate(outcomes) if o is not Outcome.UNKNOWN]
    rows = [i for i in range(len(decided) - need + 1) if all(o is Outcome.REFUSED for _, o in decided[i : i + need])]
    assert (latch.at is not None) == bool(rows)
    if latch.at is not None:
        first = START + decided[rows[0]][0] * STEP
        assert latch.at.lo <= first <= latch.at.hi


def test_a_latch_ignores_other_lanes_and_what_was_due_before() -> None:
    latch = Latch(0, GOOD, 1, START + 5 * STEP)
    latch.feed(slot(4))
    latch.feed(slot(9, lane=1))
    assert latch.at is None
    latch.feed(slot(5))
    assert latch.at is not None


def test_a_fault_is_not_proven_without_a_good_control() -> None:
    proof = Proof([Latch(0, REFUSES, 2, START)], [Latch(1, GOOD, 2, START)])
    for number in range(3):
        proof.feed(slot(number, Outcome.REFUSED))
        proof.feed(slot(number, Outcome.REFUSED, lane=1))
    assert not proof.done, "everything is down: that may be our own network"
    for number in range(3, 5):
        proof.feed(slot(number, lane=1))
    assert proof.done
    alone = Proof([Latch(0, REFUSES, 1, START)], [])
    alone.feed(slot(0, Outcome.REFUSED))
    assert not alone.done


def test_healed_means_every_target() -> None:
    healed = Healed([Latch(0, GOOD, 2, START), Latch(1, GOOD, 2, START)])
    for number in range(4):
        healed.feed(slot(number))
    assert not healed.done
    for number in range(4):
        healed.feed(slot(number, lane=1))
    assert healed.done


def test_flapping_never_gets_stable() -> None:
    fold = fed(Stable(0, START, 50 * MS), [Outcome.REFUSED if n % 10 == 0 else Outcome.OK for n in range(60 * RATE)])
    assert fold.at is None
    assert "errors" in fold.seen


@given(bad=st.integers(1, 8 * RATE), seed=st.integers(0, 99))
@settings(max_examples=50)
def test_stable_begins_when_the_flapping_ends(bad: int, seed: int) -> None:
    random = Random(seed)
    flapping = [random.choice([Outcome.OK, Outcome.SERVER_ERROR]) for _ in range(bad)] + [Outcome.SERVER_ERROR]
    fold = fed(Stable(0, START, 50 * MS), flapping + [Outcome.OK] * (6 * RATE))
    assert fold.at is not None
    assert fold.at.lo <= START + len(flapping) * STEP
    bad_slots = [n for n, outcome in enumerate(flapping) if outcome is not Outcome.OK]
    if len(bad_slots) > 1:  # one bad slot in 101 is within the 1 %
        assert fold.at.hi > START + bad_slots[-2] * STEP
    assert fold.at.hi - fold.at.lo <= 2 * STEP, "the bracket is as wide as the lane's resolution, not as the run"


def test_slow_is_not_stable_and_its_end_is_known_to_one_slot() -> None:
    fold, limit = Stable(0, START, p95_limit(2 * MS)), p95_limit(2 * MS)
    slow = 20 * RATE
    for number in range(40 * RATE):
        fold.feed(slot(number, latency=limit + MS if number < slow else 2 * MS))
        if number < slow:
            assert fold.at is None
    assert fold.at is not None
    assert fold.at.hi - fold.at.lo <= 2 * STEP
    assert fold.at.lo > START + (slow - 10) * STEP


def test_a_calm_lane_is_stable_from_the_onset() -> None:
    fold = fed(Stable(0, START, 50 * MS), [Outcome.OK] * (6 * RATE))
    assert fold.at is not None
    assert fold.at.lo == START


def test_all_stable_is_the_latest_lane() -> None:
    both = AllStable([Stable(0, START, 50 * MS), Stable(1, START, 50 * MS)])
    for number in range(10 * RATE):
        both.feed(slot(number))
        assert both.at is None
        both.feed(slot(number, Outcome.REFUSED if number < 3 * RATE else Outcome.OK, lane=1))
        if both.done:
            break
    assert both.at is not None
    assert both.at == both.lanes[1].at


def test_serving_counts_good_answers_of_every_replica() -> None:
    fold = Serving(frozenset({0}), frozenset({1, 2}), START, need=2)
    for number in range(4):
        fold.feed(slot(number, upstream=1))
        fold.feed(slot(number, Outcome.SERVER_ERROR, upstream=2))
    assert not fold.done
    assert fold.seen == "1 of 2 replicas serve"
    fold.feed(slot(5, upstream=2))
    fold.feed(slot(6, upstream=2))
    assert fold.done


def test_the_latency_limit_of_a_recovery() -> None:
    assert p95_limit(2 * MS) == 22 * MS
    assert p95_limit(100 * MS) == 150 * MS
