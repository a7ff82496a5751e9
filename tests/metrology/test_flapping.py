"""A service that comes and goes faster than the stable window is never called recovered."""

from __future__ import annotations

from typing import TYPE_CHECKING

import metro_rig as rig
from hypothesis import given
from hypothesis import strategies as st

from harness.folds import STABLE_ERRORS, Stable
from harness.records import Outcome, Slot
from harness.series import SECOND, Interval
from harness.timeline import records_of

if TYPE_CHECKING:
    from together import Together

    from harness.series import Series

RATE_HZ = 20
STEP = SECOND // RATE_HZ
START = 1_000 * SECOND
MS = rig.MS
LIMIT = 100 * MS
LENGTH_S = 2.0
IN_WINDOW = int(LENGTH_S * RATE_HZ) + 1
"""Slots of one stable window, first and last included."""

flaps = st.lists(
    st.tuples(
        st.integers(1, 6),
        st.sampled_from([Outcome.REFUSED, Outcome.READ_TIMEOUT, Outcome.SERVER_ERROR, Outcome.WRONG_BODY]),
        st.integers(1, IN_WINDOW - 1),
    ),
    min_size=2,
    max_size=12,
)
"""(bad slots, how they fail, good slots after them): never as many good ones as the window has."""


def slots(outcomes: list[Outcome]) -> list[Slot]:
    made = []
    for number, outcome in enumerate(outcomes):
        due = START + number * STEP
        made.append(Slot(0, outcome, 0, 200, 0, number, due, due, due, due, due + 2 * MS))
    return made


@given(flaps, st.integers(0, 3 * IN_WINDOW))
def test_no_good_answer_of_a_flapping_service_is_the_stable_one(
    flapping: list[tuple[int, Outcome, int]], calm: int
) -> None:
    """Until the flapping ends nothing latches; then what latches is the end of it, to one slot."""
    outcomes = [o for bad, how, good in flapping for o in [how] * bad + [Outcome.OK] * good]
    last_good = flapping[-1][2]
    fold = Stable(0, START, LIMIT, LENGTH_S)
    fed = slots(outcomes + [Outcome.OK] * calm)
    for slot in fed[: len(outcomes)]:
        fold.feed(slot)
        assert fold.at is None, "latched while it flapped"
    for slot in fed[len(outcomes) :]:
        fold.feed(slot)
    assert STABLE_ERRORS * IN_WINDOW < 1, "so that no bad slot at all is allowed in a window"
    assert (fold.at is not None) == (last_good + calm >= IN_WINDOW)
    if fold.at is not None:
        began = START + (len(outcomes) - last_good) * STEP
        assert fold.at == Interval(began - STEP, began + 2 * MS)


def stable_from(series: Series, since: int) -> tuple[Interval | None, int]:
    """Where the judge's fold latches, and the due time of the slot that made it."""
    fold, last = Stable(series.lane.id, since, LIMIT, LENGTH_S), 0
    for slot in records_of(series):
        fold.feed(slot)
        if fold.at is None:
            last = slot.intended
    return fold.at, last


def test_a_real_service_that_flaps_is_stable_only_when_it_ends(together: Together) -> None:
    for series in together.view.series(role="planted")[: together.FLAPPING]:
        mine = [act for act in together.told["acts"] if act["port"] == series.lane.id]
        assert len(mine) >= 3
        at, before = stable_from(series, mine[0]["down"][0])
        ended = mine[-1]["up"]
        assert at is not None
        assert at.lo <= ended[1], "begins no later than the last good stretch"
        assert ended[0] <= at.hi <= ended[1] + 100 * MS, "no good answer before the end is the stable one"
        assert before - ended[1] >= int((LENGTH_S - 0.1) * SECOND), "and it was not said before it had lasted"
