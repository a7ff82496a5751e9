"""A freeze of 1 s must show in the quantiles as what it is, not as the few requests that were sent meanwhile."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from frozen import by_phase, latency, off_by

from harness.series import Interval

if TYPE_CHECKING:
    from freezes import Frozen

MS = 1_000_000


def test_the_truth_of_a_freeze() -> None:
    """In flight at its begin: answered at its end. Sent in it: taken up at its end. Else the service time."""
    frozen, service = Interval(1000 * MS, 2000 * MS), 50 * MS
    for due, took in [(0, 50), (950, 50), (960, 1040), (999, 1001), (1000, 1050), (1990, 60), (2000, 50)]:
        assert latency(due * MS, frozen, service) == took * MS


@pytest.mark.parametrize(("q", "low", "high"), [(0.95, 590, 600), (0.99, 990, 1000)])
def test_the_truth_hardly_depends_on_the_phase(q: float, low: int, high: int) -> None:
    true = by_phase(1000, 100, 1000 * MS, 50 * MS, q)
    assert low * MS <= true.lo <= true.hi <= high * MS


@pytest.mark.parametrize("q", [0.95, 0.99])
@pytest.mark.parametrize("who", ["metered", "loaded"])
def test_a_freeze_is_reported_as_it_was(who: str, q: float, request: pytest.FixtureRequest) -> None:
    found: Frozen = request.getfixturevalue(who)
    assert len(found.due) >= 240
    assert abs(off_by(found.measured_ms(q), found.true_ms(q))) <= 0.03
    assert found.true_ms(q) > 500
