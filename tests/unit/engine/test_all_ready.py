"""AllReady: of a replica that several faults take, every start counts."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from harness.objectives import AllReady, all_ready
from harness.timings import wall
from harness.verdict import Status

if TYPE_CHECKING:
    from harness.timeline import RunView

FIRST, SECOND = (
    SimpleNamespace(injected=True, undone=True, prepared=SimpleNamespace(targets=["coder-1"])) for _ in range(2)
)
RUN: Any = SimpleNamespace(targets=lambda _role: [{"name": "coder-1"}], faults=[FIRST, SECOND])


@pytest.mark.parametrize(
    ("first", "second", "status", "said"),
    [
        ((1.0, 1.5), (2.0, 2.5), Status.PASS, "all 2, the last coder-1 within [2.00, 2.50] s"),
        ((20.0, 21.0), (1.0, 2.0), Status.FAIL, "all 2, the last coder-1 within [20.00, 21.00] s"),
        ((30.0, math.inf), (1.0, 2.0), Status.FAIL, "1 of 2 not ready 30.0 s after the start: coder-1"),
        ((9.0, 11.0), (1.0, 2.0), Status.INCONCLUSIVE, "all 2, the last coder-1 within [9.00, 11.00] s"),
    ],
)
def test_the_slowest_start_counts(
    monkeypatch: pytest.MonkeyPatch,
    first: tuple[float, float],
    second: tuple[float, float],
    status: Status,
    said: str,
) -> None:
    def ready(_run: RunView, fault: Any, _name: str) -> tuple[float, float]:
        return first if fault is FIRST else second

    monkeypatch.setattr(all_ready, "_ready", ready)
    finding = AllReady(within=wall(10.0, "10 s")).judge(RUN)
    assert (finding.status, finding.said) == (status, said)
