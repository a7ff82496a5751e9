from __future__ import annotations

from collections import Counter
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from faultsim import KINDS
from planted import PINNED, SHARP, SHORTEST_MS, SLOT_MS, SLOW, Report, plan, run

if TYPE_CHECKING:
    from pathlib import Path

LANES = [SHARP] * 7 + [SLOW] * 2 + [PINNED]


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    """40 outages of all kinds, 50 ms to 1 s, on ten parallel lanes, with both cores busy."""
    folder: Path = tmp_path_factory.mktemp("planted") / "run"
    return run(folder, plan(seed=7, count=40, lanes=LANES, longest_ms=1000), LANES, busy=2)


def test_every_outage_is_stated_once_and_nothing_else(report: Report) -> None:
    assert report.wrong == []
    assert len(report.stated) + len(report.edges["unknown"]) == 2 * (report.planted - report.only_slow)


def test_the_stated_bounds_hold_the_truth(report: Report) -> None:
    assert max(report.brackets_ms) < 5, "else we do not know the truth ourselves"
    assert report.contained() >= 0.99, "\n".join(map(str, report.refuted))


def test_the_bounds_are_narrow_and_their_middle_is_near(report: Report) -> None:
    assert report.width_ms("sharp") <= 2 * SLOT_MS + report.lateness_p99_ms
    assert report.error_p95_ms("sharp") <= 15
    assert report.width_ms("slow") <= SLOW.service_ms + 2 * SLOT_MS + report.lateness_p99_ms


def test_a_plan_has_every_kind_on_every_group_that_can_see_it() -> None:
    made = plan(seed=1, count=300, lanes=LANES, longest_ms=10_000)
    assert len(made) == 300
    assert set(Counter(p.kind for p in made)) == set(KINDS)
    assert min(p.for_ms for p in made) >= SHORTEST_MS
    assert sum(p.for_ms > 1000 for p in made) > 80, "log-uniform: more than a third is above 1 s"
    assert not [p for p in made if p.kind == "refuse" and LANES[p.lane] is PINNED]
    for lane in range(len(LANES)):
        own = [p for p in made if p.lane == lane]
        assert all(a.at_ms + a.for_ms + 500 < b.at_ms for a, b in pairwise(own))
