"""A write that nobody acknowledged and that was read as absent: late is wrong, but for a replica that may still be at work."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from harness import events as ev
from harness.objectives import WritesKept
from harness.verdict import Status


def run(acked_there: bool) -> Any:
    def write(number: int, result: str) -> Any:
        return SimpleNamespace(result=result, workspace="w" * 8, build_number=number, op="stop", writer="w1")

    builds = {"w" * 8: {"3": ["stop", 1]} | ({"2": ["stop", 1]} if acked_there else {})}
    truth = ev.Truth(by="SQL", builds=builds)
    return SimpleNamespace(all=lambda _: [truth], history=[write(2, "ack"), write(3, "absent")])


@pytest.mark.parametrize(
    ("may", "acked_there", "status", "said"),
    [
        (False, True, Status.FAIL, "settled as absent, appeared later: build 3"),
        (True, True, Status.PASS, "1 settled as absent, 0 unsettled; 1 of the absent came late"),
        (True, False, Status.FAIL, "acknowledged and lost: stop of build 2"),
    ],
)
def test_what_comes_late(may: bool, acked_there: bool, status: Status, said: str) -> None:
    finding = WritesKept(min_writes=1, may_come_late=may).judge(run(acked_there))
    assert finding.status is status
    assert said in finding.said
    assert finding.safety
