"""The knee: between which doses p95 leaves the limit, by what is known of each."""

from __future__ import annotations

import pytest

from harness.objectives.latency_by_dose import _knee, _Step
from harness.series import Interval

MS = 1_000_000


def _step(dose: int, low: int, high: int | None) -> _Step:
    """A dose whose p95 lies between so many ms; None: too few answers to say."""
    bounds = None if high is None else Interval(low * MS, high * MS)
    return _Step(dose, (low + (high or low)) * MS // 2, bounds, 0, 300)


@pytest.mark.parametrize(
    ("doses", "said"),
    [
        ([(5, 10, 20), (10, 20, 40), (25, 310, 400), (50, 900, 990)], "knee between 10 ms and 25 ms"),
        ([(5, 10, 20), (10, 20, 300), (25, 301, 400)], "knee between 10 ms and 25 ms"),
        ([(5, 10, 20), (18, 250, 350), (25, 310, 400)], "knee between 5 ms and 25 ms"),
        ([(5, 10, 20), (18, 310, None), (25, 310, 400)], "knee between 5 ms and 25 ms"),
        ([(5, 310, 400), (10, 900, 990)], "knee between 0 ms and 5 ms"),
        ([(5, 10, 20), (100, 200, 290)], "knee above 100 ms"),
        ([(5, 10, 20), (100, 250, 350)], "knee above 5 ms"),
        ([(5, 250, 350)], "knee above 0 ms"),
        (
            [(5, 310, 700), (10, 20, 40), (25, 310, 400)],
            "knee between 10 ms and 25 ms, though +5 was over the limit too",
        ),
        ([(5, 310, 700), (10, 20, 40)], "knee above 10 ms, though +5 was over the limit too"),
    ],
)
def test_the_knee_lies_between_two_doses(doses: list[tuple[int, int, int | None]], said: str) -> None:
    assert _knee([_step(*dose) for dose in doses], 0.3) == said
