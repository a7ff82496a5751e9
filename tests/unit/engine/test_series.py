from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from harness.records import UNDECIDED, Outcome, Slot
from harness.series import SECOND, Interval, Lane, Outage, Series, degraded, first_index, quantile

RATE = 20.0
STEP = int(SECOND / RATE)
START = 1_000 * SECOND
BAD = (Outcome.REFUSED, Outcome.READ_TIMEOUT, Outcome.SERVER_ERROR, Outcome.WRONG_BODY)


def slot(number: int, outcome: Outcome, latency: int = 2_000_000, lane: int = 0) -> Slot:
    due = START + number * STEP
    done = 0 if outcome in UNDECIDED else due + latency
    return Slot(lane, outcome, 0, 200, 0, number, due, due, due, done, done)


def series(outcomes: list[Outcome]) -> Series:
    made = Series(Lane(0, "balancer", "balancer", "fresh", RATE))
    for number, outcome in enumerate(outcomes):
        made.append(slot(number, outcome))
    return made.sort()


def window(count: int) -> Interval:
    return Interval(START, START + count * STEP)


@given(before=st.integers(1, 30), length=st.integers(1, 400), after=st.integers(1, 30), offset=st.floats(0, 0.999))
def test_the_bounds_of_an_outage_contain_what_was_planted(before: int, length: int, after: int, offset: float) -> None:
    """Service is down from `down` to `up`; a slot is bad when it is due in between."""
    down = START + int((before - 1 + offset) * STEP) + 1
    up = down + length * STEP // 7 + 1
    total = before + length + after
    outcomes = [Outcome.REFUSED if down <= START + n * STEP < up else Outcome.OK for n in range(total)]
    found = list(series(outcomes).outages(window(total)))
    if Outcome.REFUSED not in outcomes:
        assert found == []
        return
    assert len(found) == 1
    outage = found[0]
    assert outage.start.lo <= down <= outage.start.hi
    assert outage.end.lo <= up <= outage.end.hi
    assert outage.length.lo <= up - down <= outage.length.hi
    assert outage.slots == outcomes.count(Outcome.REFUSED)


@given(st.lists(st.sampled_from([Outcome.OK, Outcome.REFUSED, Outcome.UNKNOWN]), min_size=1, max_size=120))
def test_outages_are_disjoint_in_order_and_hold_every_bad_slot(outcomes: list[Outcome]) -> None:
    made = series(outcomes)
    found = list(made.outages(window(len(outcomes))))
    assert sum(o.slots for o in found) == outcomes.count(Outcome.REFUSED)
    for outage in found:
        assert 0 <= outage.length.lo <= outage.length.hi
    for left, right in pairwise(found):
        assert left.end.hi <= right.start.hi
        assert left.end.lo < right.start.lo or left.end.hi <= right.start.lo


@given(
    st.lists(
        st.sampled_from([Outcome.OK, Outcome.SERVER_ERROR, Outcome.UNKNOWN, Outcome.LOCAL_ERROR, None]), max_size=100
    )
)
def test_every_due_slot_is_counted_once(outcomes: list[Outcome | None]) -> None:
    """None is a slot without a record, wherever in the window it is."""
    made = Series(Lane(0, "b", "balancer", "fresh", RATE))
    for number, outcome in enumerate(outcomes):
        if outcome is not None:
            made.append(slot(number, outcome))
    bad, unknown, due = made.sort().count_bad(window(len(outcomes)))
    assert bad == outcomes.count(Outcome.SERVER_ERROR)
    assert unknown == sum(o is None or o in UNDECIDED for o in outcomes)
    assert due == len(outcomes)


@given(st.permutations(list(range(25))))
def test_the_order_of_writing_does_not_matter(order: list[int]) -> None:
    outcomes = [Outcome.OK if n % 4 else Outcome.RESET for n in range(25)]
    made = Series(Lane(0, "b", "balancer", "fresh", RATE))
    for number in order:
        made.append(slot(number, outcomes[number]))
    made.sort()
    straight = series(outcomes)
    assert list(made.slot) == list(range(25))
    assert list(made.outcome) == list(straight.outcome)
    assert list(made.outages(window(25))) == list(straight.outages(window(25)))


@given(st.lists(st.integers(0, 10**10), min_size=1, max_size=300))
def test_quantiles_rise_and_are_samples(values: list[int]) -> None:
    ordered = sorted(values)
    p50, p95, p99 = (quantile(ordered, q) for q in (0.5, 0.95, 0.99))
    assert ordered[0] <= p50 <= p95 <= p99 <= ordered[-1]
    assert {p50, p95, p99} <= set(values)
    assert quantile(ordered, 1.0) == ordered[-1]
    assert sum(v <= p95 for v in values) >= 0.95 * len(values)


def test_a_bad_slot_while_the_meter_stood_still_is_unknown() -> None:
    made = Series(Lane(0, "b", "balancer", "fresh", RATE))
    for number in range(200):
        made.append(slot(number, Outcome.READ_TIMEOUT if number in (5, 100, 150) else Outcome.OK, SECOND))
    made.sort([Interval(START + 101 * STEP, START + 110 * STEP)])
    assert [n for n in range(200) if made.outcome[n] == Outcome.UNKNOWN] == [100]
    assert made.bad(5)
    assert made.bad(150)


def test_unknown_slots_neither_begin_nor_end_an_outage_and_widen_it() -> None:
    ok, bad, unknown = Outcome.OK, Outcome.REFUSED, Outcome.UNKNOWN
    [outage] = series([ok, unknown, bad, unknown, bad, unknown, ok]).outages(window(7))
    told = 2_000_000
    assert outage == Outage(
        Interval(START, START + 2 * STEP + told), Interval(START + 4 * STEP, START + 6 * STEP + told), 2
    )
    assert list(series([ok, unknown, unknown, ok]).outages(window(4))) == []


def test_an_outage_that_the_window_cuts_ends_at_its_end_at_the_latest() -> None:
    [outage] = series([Outcome.OK] * 3 + [Outcome.RESET] * 5).outages(window(8))
    assert outage.end == Interval(START + 7 * STEP, START + 8 * STEP)


def test_one_bad_answer_in_three_is_degraded_and_no_outage() -> None:
    made = series([Outcome.SERVER_ERROR if n % 3 == 0 else Outcome.OK for n in range(60)])
    assert max(o.length.hi for o in made.outages(window(60))) <= 2 * STEP + 2_000_000
    assert degraded(made, window(60)) > 2.9


def test_all_latencies_count_what_was_never_answered() -> None:
    made = series([Outcome.OK, Outcome.READ_TIMEOUT, Outcome.UNKNOWN])
    assert len(made.all_latencies(window(3))) == 2
    assert len(made.good_latencies(window(3))) == 1
    assert first_index(made, START, good=False) == 1
    assert first_index(made, START + STEP, good=True) is None


def test_a_late_answer_is_bad_and_its_latency_is_known() -> None:
    made = series([Outcome.OK, Outcome.READ_TIMEOUT, Outcome.READ_TIMEOUT, Outcome.OK])
    before = made.all_latencies(window(4))
    made.follow(slot(1, Outcome.OK, latency=1_500_000_000))
    made.follow(slot(2, Outcome.RESET, latency=4_000_000_000))
    assert before == [2_000_000] * 4
    assert made.all_latencies(window(4)) == [2_000_000, 2_000_000, 1_500_000_000, 4_000_000_000]
    assert made.count_bad(window(4)) == (2, 0, 4)
    assert made.served_late(window(4)) == 1
    assert made.good_latencies(window(4)) == [2_000_000] * 2


def test_what_was_still_followed_at_the_stop_changes_nothing() -> None:
    made = series([Outcome.READ_TIMEOUT])
    made.follow(slot(0, Outcome.UNKNOWN))
    assert made.all_latencies(window(1)) == [2_000_000]
    assert made.served_late(window(1)) == 0


def test_slow_slots_are_good_and_counted() -> None:
    made = Series(Lane(0, "b", "balancer", "fresh", RATE))
    for number, latency in enumerate([1, 30, 31, 400]):
        made.append(slot(number, Outcome.OK, latency * 1_000_000))
    assert made.count_slow(window(4), 30_000_000) == 2
    assert made.count_bad(window(4)) == (0, 0, 4)


def test_a_stall_of_the_meter_is_no_latency_of_the_service() -> None:
    """An answer that was read late took nobody knows how long; one that took far longer than the stall is slow."""
    made = Series(Lane(0, "b", "balancer", "fresh", RATE))
    for number in range(20):
        made.append(slot(number, Outcome.OK, {5: 4 * STEP, 3: SECOND}.get(number, 2_000_000)))
    made.sort([Interval(START + 5 * STEP + STEP // 2, START + 9 * STEP)])
    assert made.count_bad(window(20)) == (0, 0, 20)
    assert made.blurred == {5, 6, 7, 8}
    assert made.good_latencies(window(20)) == [2_000_000] * 15 + [SECOND]
    assert made.all_latencies(window(20))[-1] == SECOND
    assert made.count_slow(window(20), 30_000_000) == 1
