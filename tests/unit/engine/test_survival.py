from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.survival import Survival

DURATIONS = st.lists(st.integers(0, 50), max_size=20).map(lambda values: tuple(sorted(values)))


def test_the_textbook_example() -> None:
    """Remission times of 6-MP in weeks (Freireich 1963), as every textbook prints the estimate."""
    ended = (6, 6, 6, 7, 10, 13, 16, 22, 23)
    censored = (6, 9, 10, 11, 17, 19, 20, 25, 32, 32, 34, 35)
    curve = Survival(ended, censored).curve()
    assert [(at, round(share, 3)) for at, share in curve] == [
        (6, 0.857), (7, 0.807), (10, 0.753), (13, 0.690), (16, 0.627), (22, 0.538), (23, 0.448),
    ]  # fmt: skip


def test_who_never_came_back_is_not_left_out() -> None:
    survival = Survival(back=(1, 2, 3), down=(10,))
    assert survival.back_within(0.75) == 3
    assert survival.back_within(0.76) is None
    assert survival.bounds(3) == (0.75, 0.75)


def test_who_was_last_seen_early_widens_the_bounds_only() -> None:
    survival = Survival(back=(4,), down=(2,))
    assert survival.bounds(1) == (0.0, 0.0)
    assert survival.bounds(3) == (0.0, 0.5)
    assert survival.bounds(4) == (0.5, 1.0)


@given(DURATIONS, DURATIONS, st.integers(0, 60))
def test_the_estimate_lies_within_the_bounds(back: tuple[int, ...], down: tuple[int, ...], moment: int) -> None:
    survival = Survival(back, down)
    lo, hi = survival.bounds(moment)
    assert lo - 1e-9 <= survival.estimate(moment) <= hi + 1e-9


@given(DURATIONS)
def test_without_censoring_it_is_plain_counting(back: tuple[int, ...]) -> None:
    survival = Survival(back, ())
    for moment in back:
        share = sum(b <= moment for b in back) / len(back)
        assert survival.estimate(moment) == pytest.approx(share)
        assert survival.bounds(moment) == (share, share)
        assert survival.back_within(share) == moment
