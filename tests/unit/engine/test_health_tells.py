"""Health reports: how one is read, and what HealthTells makes of them inside a run that was really played."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from make import unpack

from harness import events as ev
from harness import health
from harness.objectives import HealthTells
from harness.series import SECOND
from harness.stack import Answer, NoAnswer
from harness.timeline import RunView
from harness.verdict import Status

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

FIGURES = {"reachable": True, "latency_ms": 3, "threshold_ms": 15}


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return unpack("health-pass", tmp_path_factory.mktemp("golden") / "run")


@pytest.fixture
def run(directory: Path) -> RunView:
    return RunView(directory)


def _change(run: RunView, stage: int, change: Callable[[ev.HealthReport], list[ev.HealthReport]]) -> None:
    """Put others in place of coder-1's report of a stage: 0 before, 1 and 2 with a dose, 3 after."""
    chosen = [e for e in run.all(ev.HealthReport) if e.target == "coder-1"][stage]
    run.events = [new for e in run.events for new in (change(chosen) if e is chosen else [e])]


def _says(ms: int | None, *codes: str, **more: Any) -> Callable[[ev.HealthReport], list[ev.HealthReport]]:
    return lambda e: [replace(e, latency_ms=ms, codes=list(codes), **more)]


def _twice(first: Any, second: Any) -> Callable[[ev.HealthReport], list[ev.HealthReport]]:
    return lambda e: [*first(e), *second(e)]


TOLD = ev.HealthReport.FAR


@pytest.mark.parametrize(
    ("stage", "change", "status", "said"),
    [
        (0, _says(3), Status.PASS, "8 reports: EDB02 of every replica at +18 ms"),
        (2, _says(20), Status.FAIL, "+18 ms: coder-1 did not warn, its pings took 20 ms"),
        (2, _says(None), Status.FAIL, "+18 ms: coder-1 did not warn, without a figure"),
        (2, _says(3, TOLD), Status.FAIL, "+18 ms: coder-1 warned, its pings took 3 ms"),
        (1, _says(13, TOLD), Status.FAIL, "+12 ms: coder-1 warned, its pings took 13 ms"),
        (1, _says(16), Status.FAIL, "+12 ms: coder-1 did not warn, its pings took 16 ms"),
        (1, _says(16, TOLD), Status.INCONCLUSIVE, "+12 ms: coder-1 warned, its pings took 16 ms; so said all"),
        (1, _twice(_says(16, TOLD), _says(14)), Status.PASS, "9 reports"),
        (1, _twice(_says(13, TOLD), _says(14)), Status.FAIL, "+12 ms: coder-1 warned, its pings took 13 ms"),
        (0, _says(3, TOLD), Status.FAIL, "before: coder-1 warned"),
        (0, _says(26, TOLD), Status.INCONCLUSIVE, "before: coder-1 warned, its pings took 26 ms"),
        (3, _says(3, TOLD), Status.FAIL, "after: coder-1 warned"),
        (3, _says(20, TOLD), Status.INCONCLUSIVE, "after: coder-1 warned, its pings took 20 ms"),
        (3, _says(0, ev.HealthReport.GONE), Status.INCONCLUSIVE, "after: coder-1 had no answer of its database: EDB01"),
        (3, _says(3, "EDB03"), Status.PASS, "8 reports"),
        (
            3,
            _says(None, why="GET … answered 503"),
            Status.INCONCLUSIVE,
            "after: coder-1 gave no report: GET … answered 503",
        ),
        (3, _says(3, threshold_ms=10), Status.INCONCLUSIVE, "after: coder-1 warns from 10 ms on, not from 15 ms"),
        (3, _says(3, threshold_ms=None), Status.PASS, "8 reports"),
    ],
)
def test_what_a_report_comes_to(run: RunView, stage: int, change: Any, status: Status, said: str) -> None:
    _change(run, stage, change)
    finding = HealthTells(warns_at=0.015).judge(run)
    assert (finding.status, finding.said[: len(said)]) == (status, said)


def _stays(run: RunView, seconds: float) -> None:
    """The warning of the dose is still there when all is healed, and stays."""
    healed = run.faults[-1].healed
    assert healed is not None
    since = healed.t_ns + 1
    _change(run, 3, _says(20, TOLD, since_ns=since, t_ns=since + int(seconds * SECOND)))


@pytest.mark.parametrize(("seconds", "status"), [(4.9, Status.INCONCLUSIVE), (5.1, Status.FAIL)])
def test_a_warning_that_stays_while_the_database_is_near_does_not_go(
    run: RunView, seconds: float, status: Status
) -> None:
    _stays(run, seconds)
    finding = HealthTells(warns_at=0.015).judge(run)
    assert finding.status is status
    assert f"so said all of its reports in {seconds} s" in finding.said


def test_without_quick_probes_a_warning_that_stays_proves_nothing(run: RunView) -> None:
    _stays(run, 5.1)
    for series in run.series(target="coder-1", kinds=("db",)):
        series.latency[:] = type(series.latency)(series.latency.typecode, [20_000_000] * len(series.latency))
    assert HealthTells(warns_at=0.015).judge(run).status is Status.INCONCLUSIVE


@pytest.mark.parametrize("stage", ["before", "+12 ms", "+18 ms", "after"])
def test_every_stage_needs_somebody_who_was_asked(run: RunView, stage: str) -> None:
    number = ("before", "+12 ms", "+18 ms", "after").index(stage)
    gone = run.all(ev.HealthReport)[2 * number : 2 * number + 2]
    run.events = [e for e in run.events if e not in gone]
    finding = HealthTells(warns_at=0.015).judge(run)
    assert (finding.status, finding.said) == (Status.INCONCLUSIVE, f"{stage}: nobody was asked")


def test_a_report_that_outlasts_the_delay_belongs_to_no_stage(run: RunView) -> None:
    undone = run.faults[1].undone
    assert undone is not None
    late = [replace(e, t_ns=undone.before_ns + 1) for e in run.all(ev.HealthReport)[4:6]]
    run.events = [e for e in run.events if not (isinstance(e, ev.HealthReport) and TOLD in e.codes)] + list(late)
    assert HealthTells(warns_at=0.015).judge(run).said == "+18 ms: nobody was asked"


def _read(answer: Answer | NoAnswer) -> ev.HealthReport:
    """What becomes of an answer of coder-1."""
    events: list[Any] = []

    async def call(method: str, path: str, *, token: str, timeout_s: float) -> Answer:
        assert (method, path, token) == ("GET", "/debug/health?force=true", "owner's")
        assert timeout_s > 30, "Coder gives itself 30 s"
        if isinstance(answer, NoAnswer):
            raise answer
        return answer

    stack: Any = SimpleNamespace(api=lambda _: SimpleNamespace(call=call))
    warned = asyncio.run(health.ask(stack, "owner's", ["coder-1"], events.append, lambda: 7))
    (report,) = events
    assert warned == ["coder-1"] * (TOLD in report.codes)
    assert (report.target, report.since_ns) == ("coder-1", 7)
    return report  # type: ignore[no-any-return]


def test_how_a_report_is_read() -> None:
    near = _read(Answer(200, {"database": {**FIGURES, "warnings": [], "error": None}}))
    assert (near.codes, near.latency_ms, near.threshold_ms, near.why) == ([], 3, 15, "")
    far = _read(Answer(200, {"database": {**FIGURES, "warnings": [{"code": "EDB02", "message": "far"}]}}))
    assert far.codes == ["EDB02"]
    older = _read(Answer(200, {"database": {"warnings": ["EDB02: far"], "latency": "3ms"}}))
    assert (older.codes, older.latency_ms, older.threshold_ms) == (["EDB02"], None, None)
    gone = _read(Answer(200, {"database": {**FIGURES, "warnings": None, "error": "EDB01: ping database: refused"}}))
    assert gone.codes == ["EDB01"]


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (Answer(503, {"message": "in progress"}), "answered 503"),
        (Answer(403, None), "answered 403"),
        (Answer(200, "<html>"), "no section about the database"),
        (Answer(200, {"severity": "ok"}), "no section about the database"),
        (NoAnswer("connection refused"), "connection refused"),
    ],
)
def test_what_is_no_report_says_why(answer: Answer | NoAnswer, why: str) -> None:
    assert why in _read(answer).why
