"""A service is planted in numbers, its fault at known moments, and asked in an open loop: what is stated must hold them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import assume, given
from hypothesis import strategies as st

from harness.records import Outcome, Slot
from harness.series import Interval, Lane, Outage, Series

if TYPE_CHECKING:
    from collections.abc import Callable

MS = 1_000_000
START = 1_000_000 * MS
RATE_HZ = 50
STEP = 20 * MS
DEADLINE = 300 * MS
BEFORE = 80
"""Good slots before the fault."""

Answer = tuple[Outcome, int]
"""How an exchange would end if it were followed for ever, and when. `UNKNOWN` stands for never."""

phases = st.integers(0, STEP - 1)
usual_ms = st.integers(1, 60)
lengths_ms = st.integers(1, 2000)


def usual(number: int, most: int) -> int:
    """Time to serve slot `number`: a pattern whose slowest value comes every ten slots."""
    return most // 2 + most // 2 * (number % 10) // 9


def measured(asked: Callable[[int, int], Answer], until: int, *, followed: bool) -> tuple[Series, list[Outage]]:
    """Ask in an open loop until `until`; slots are sent up to 2 ms late."""
    series = Series(Lane(0, "t", "balancer", "fresh", RATE_HZ))
    number = 0
    while (due := START + number * STEP) < until:
        sent = due + number % 3 * MS
        outcome, done = asked(number, sent)
        if outcome is Outcome.UNKNOWN or done > due + DEADLINE:
            series.append(Slot(0, Outcome.READ_TIMEOUT, 0, 0, 0, number, due, sent, sent, 0, due + DEADLINE))
            if followed and outcome is not Outcome.UNKNOWN:
                series.follow(Slot(0, outcome, 0, 200, 0, number, due, sent, sent, done, done))
        else:
            series.append(Slot(0, outcome, 0, 200, 0, number, due, sent, sent, done, done))
        number += 1
    series.sort()
    return series, list(series.outages(Interval(START, until)))


def holds(outages: list[Outage], down: int, up: int) -> Outage:
    assert len(outages) == 1
    [outage] = outages
    assert outage.start.lo <= down <= outage.start.hi
    assert outage.end.lo <= up <= outage.end.hi
    assert outage.length.lo <= up - down <= outage.length.hi
    return outage


def edges(phase: int, length_ms: int) -> tuple[int, int, int]:
    """Begin and end of the fault, and when to stop asking."""
    down = START + BEFORE * STEP + phase
    return down, down + length_ms * MS, down + length_ms * MS + 2 * DEADLINE + 1000 * MS


@given(phases, st.integers(45, 2000), usual_ms, st.floats(0, 1))
def test_a_failure_that_is_told(phase: int, length_ms: int, most_ms: int, when: float) -> None:
    """It is decided anywhere between send and answer whether a request fails, of each after that of the one before it.

    Else one good answer lies between two bad ones, and two outages are what was seen.
    """
    assume(when * (most_ms // 2) * MS < STEP - 2 * MS)
    down, up, until = edges(phase, length_ms + 2 * most_ms)

    def asked(number: int, sent: int) -> Answer:
        took = usual(number, most_ms * MS)
        return (Outcome.SERVER_ERROR if down <= sent + int(took * when) < up else Outcome.OK), sent + took

    outage = holds(measured(asked, until, followed=True)[1], down, up)
    assert outage.start.hi - outage.start.lo <= STEP + 2 * MS + most_ms * MS
    assert outage.end.hi - outage.end.lo <= STEP + 2 * MS + most_ms * MS


@given(phases, st.integers(45, 2000), usual_ms, st.booleans())
def test_a_black_hole_swallows_what_reaches_it(phase: int, length_ms: int, most_ms: int, followed: bool) -> None:
    """Its end is that of the silence for new requests, not the deadline of those it swallowed."""
    down, up, until = edges(phase, length_ms)

    def asked(number: int, sent: int) -> Answer:
        return (Outcome.UNKNOWN, 0) if down <= sent < up else (Outcome.OK, sent + usual(number, most_ms * MS))

    outage = holds(measured(asked, until, followed=followed)[1], down, up)
    assert outage.end.hi - outage.end.lo <= STEP + 2 * MS + most_ms * MS


@given(phases, lengths_ms, usual_ms, st.booleans(), st.integers(0, 5000))
def test_a_freeze_answers_who_waited_when_it_thaws(
    phase: int, length_ms: int, most_ms: int, followed: bool, backlog_us: int
) -> None:
    """In flight at the begin: answered at the thaw. Sent in the freeze: served from the thaw on, one after the other."""
    if not followed:
        backlog_us = 0  # served first, for nobody, would be those who hung up: nobody could see that it has thawed
    down, up, until = edges(phase, length_ms)
    asleep = 0

    def asked(number: int, sent: int) -> Answer:
        nonlocal asleep
        took = usual(number, most_ms * MS)
        if sent + took < down or sent >= up:
            return Outcome.OK, sent + took
        asleep += 1
        return Outcome.OK, max(up, sent + took) if sent < down else up + took + (asleep - 1) * backlog_us * 1000

    series, outages = measured(asked, until, followed=followed)
    if not outages:
        assert length_ms * MS <= DEADLINE + STEP, "shorter than the deadline it is slow, not out"
        assert max(series.latency) >= length_ms * MS - STEP
    elif abs(length_ms * MS - DEADLINE) > most_ms * MS + STEP:
        holds(outages, down, up)
    else:  # at the deadline itself the phase decides which slots it costs: two outages may show, each of them true
        for outage in outages:
            assert outage.start.lo <= down <= outage.start.hi
            assert outage.end.lo <= up <= outage.end.hi


@given(phases, lengths_ms, st.integers(1, 30))
def test_the_thaw_of_a_long_freeze_is_known_well(phase: int, length_ms: int, most_ms: int) -> None:
    down, up, until = edges(phase, 400 + length_ms)

    def asked(number: int, sent: int) -> Answer:
        took = usual(number, most_ms * MS)
        return Outcome.OK, sent + took if sent + took < down else max(up, sent) + took

    outage = holds(measured(asked, until, followed=False)[1], down, up)
    assert outage.end.hi - outage.end.lo <= STEP + 2 * most_ms * MS


@given(phases, st.integers(45, 2000), usual_ms, st.booleans(), st.integers(1, 5))
def test_a_service_that_is_slow_for_a_while(
    phase: int, length_ms: int, most_ms: int, followed: bool, times: int
) -> None:
    """Its answers come after the deadline and take as long as the requests: nothing thaws."""
    down, up, until = edges(phase, length_ms)

    def asked(number: int, sent: int) -> Answer:
        if down <= sent < up:
            return Outcome.OK, sent + DEADLINE + times * 100 * MS
        return Outcome.OK, sent + usual(number, most_ms * MS) + (MS if sent >= up else 0)  # a little slower than before

    outage = holds(measured(asked, until, followed=followed)[1], down, up)
    assert outage.end.hi - outage.end.lo <= STEP + 3 * MS + most_ms * MS


@given(phases, st.integers(45, 2000), st.integers(50, 250))
def test_a_service_that_comes_back_slowly(phase: int, length_ms: int, cold_ms: int) -> None:
    """After the fault its first answers take long, but within the deadline: it is back all the same."""
    down, up, until = edges(phase, length_ms)

    def asked(number: int, sent: int) -> Answer:
        if down <= sent < up:
            return Outcome.UNKNOWN, 0
        return Outcome.OK, sent + (cold_ms * MS if up <= sent < up + 500 * MS else usual(number, 4 * MS))

    holds(measured(asked, until, followed=True)[1], down, up)


def test_one_frozen_replica_of_three_leaves_gaps_of_one_slot() -> None:
    """Its slots are answered late, at the thaw; those in between say that the balancer was never out for long."""
    down, up, until = edges(0, 1500)

    def asked(number: int, sent: int) -> Answer:
        frozen = number % 3 == 0 and down <= sent < up
        return Outcome.OK, (up if frozen else sent) + 2 * MS

    _, outages = measured(asked, until, followed=True)
    assert len(outages) == 20
    assert max(outage.length.hi for outage in outages) <= 2 * STEP + 6 * MS


def test_a_slot_that_was_never_sent_proves_nothing() -> None:
    """It waited on a pinned lane for a line that was not free before its deadline."""
    series = Series(Lane(0, "t", "t", "pinned", RATE_HZ))
    for number in range(BEFORE):
        due = START + number * STEP
        series.append(Slot(0, Outcome.OK, 0, 200, 0, number, due, due, due, due + MS, due + MS))
    lost = START + BEFORE * STEP
    for number in (BEFORE, BEFORE + 1, BEFORE + 2):
        due = START + number * STEP
        sent = lost if number == BEFORE else 0
        series.append(Slot(0, Outcome.READ_TIMEOUT, 0, 0, 0, number, due, sent, sent, 0, due + DEADLINE))
    due = START + (BEFORE + 3) * STEP
    series.append(Slot(0, Outcome.OK, 0, 200, 0, BEFORE + 3, due, due, due, due + MS, due + MS))
    [outage] = series.sort().outages(Interval(START, due + STEP))
    assert outage.start == Interval(lost - STEP, lost + MS)
    assert outage.end == Interval(lost, due + MS)
    assert outage.slots == 3


def test_without_a_good_answer_before_it_only_the_deadline_is_sure() -> None:
    series = Series(Lane(0, "t", "t", "fresh", RATE_HZ))
    for number in range(3):
        due = START + number * STEP
        series.append(Slot(0, Outcome.READ_TIMEOUT, 0, 0, 0, number, due, due, due, 0, due + DEADLINE))
    [outage] = series.sort().outages(Interval(START, START + 3 * STEP))
    assert outage.start == Interval(START, START + DEADLINE)
    assert outage.end == Interval(START + 2 * STEP, START + 3 * STEP)
