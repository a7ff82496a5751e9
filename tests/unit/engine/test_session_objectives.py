"""Herd, EchoKept and SessionsBack on ledgers that are made up, inside a run that is not."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from harness.objectives import DropShare, EchoKept, Herd, SessionsBack
from harness.populations import read_sessions
from harness.reports.sessions_text import sessions_block
from harness.series import SECOND
from harness.timeline import RunView
from harness.verdict import Status

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

Rows = list[dict[str, Any]]


@pytest.fixture
def seen(light: Path) -> Callable[[Rows], RunView]:
    """A run whose ledger holds these rows; times are seconds after the onset."""

    def make(rows: Rows) -> RunView:
        run = RunView(light)
        assert run.window is not None
        for row in rows:
            for key in {"t_ns", "last_ns"} & set(row):
                row[key] = run.window.lo + int(row[key] * SECOND)
        (light / "sessions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        run.sessions = read_sessions(light / "sessions.jsonl")
        return run

    return make


def turn(t: float, ev: str, session: str, population: str = "watch.eager", **more: Any) -> dict[str, Any]:
    kind, _, policy = population.partition(".")
    return {"t_ns": t, "session": session, "policy": policy, "kind": kind, "ev": ev, **more}


def dials(*moments: float, population: str = "watch.eager") -> Rows:
    return [turn(t, "dial", f"s{number}", population) for number, t in enumerate(moments)]


def echoes(**counts: int) -> Rows:
    echo = {"sent": 10, "back": 9, "lost": 0, "in_flight": 1, "doubled": 0, "reordered": 0, "late": 0} | counts
    ends = turn(
        2, "drop", "e", "echo.stream", cause="eof", code=None, upstream=0, initiator="server", last_ns=1.5, echo=echo
    )
    return [turn(-1, "open", "e", "echo.stream"), turn(-0.5, "first", "e", "echo.stream"), ends]


@pytest.mark.parametrize(
    ("rows", "status", "said"),
    [
        (dials(0.1, 0.2, 2.0), Status.PASS, "2 of 3 sessions' dials in the second that began 0.10 s after the onset"),
        (dials(0.1, 0.2, 0.3), Status.FAIL, "3 of 3 sessions' dials"),
        (dials(-3.0, -2.9, -2.8, 0.3), Status.PASS, "1 of 4 sessions' dials"),
        (dials(-3.0), Status.INCONCLUSIVE, "nobody dialled"),
        (dials(0.1, 0.2, 0.3, population="watch.stream"), Status.INCONCLUSIVE, "nobody dialled"),
    ],
)
def test_herd(seen: Any, rows: Rows, status: Status, said: str) -> None:
    finding = Herd(at_most=2).judge(seen(rows))
    assert finding.status is status
    assert said in finding.said


@pytest.mark.parametrize(("at_most", "status"), [(0.5, Status.FAIL), (0.75, Status.PASS)])
def test_a_herd_may_be_bounded_by_its_size(seen: Any, at_most: float, status: Status) -> None:
    finding = Herd(at_most=at_most, per_session=True).judge(seen(dials(0.1, 0.2, 0.3, 5.0)))
    assert finding.status is status
    assert finding.limit == f"<= {at_most} dials/s per session"


def test_a_herd_may_be_of_those_that_are_answered(seen: Any) -> None:
    """Dials at a balancer that is gone are no work for anybody; an answer is one, be it a yes or a 503."""
    rows = dials(0.1, 0.2, 0.3, 0.4)
    rows += [turn(0.35, "refused", "s0", why="refused"), turn(0.36, "refused", "s1", why="timeout")]
    assert Herd(at_most=2, answered=True).judge(seen([*rows])).said == "no dial was answered"
    rows = dials(0.1, 0.2, 0.3, 0.4)
    rows += [turn(0.35, "refused", "s0", why="refused"), turn(0.36, "refused", "s1", why="status:503")]
    rows += [turn(0.37, "open", "s2"), turn(0.38, "open", "s3")]
    assert Herd(at_most=3, answered=True).judge(seen([dict(row) for row in rows])).status is Status.PASS
    found = Herd(at_most=2, answered=True).judge(seen([dict(row) for row in rows]))
    assert (found.status, found.value, found.limit) == (Status.FAIL, "3 answered dials/s", "<= 2 answered dials/s")


@pytest.mark.parametrize(
    ("on", "status", "said"),
    [
        (["victim", "victim", "none"], Status.INCONCLUSIVE, "1 drops of sessions whose replica is not known"),
        (["victim", "victim"], Status.PASS, "2 of 3 with coder-"),
        (["victim", "other", "none"], Status.FAIL, "which stayed (1 such drops); 3 of 3 with coder-"),
        ([], Status.INCONCLUSIVE, "nobody dropped"),
    ],
)
def test_drop_share(seen: Any, light: Path, on: list[str], status: Status, said: str) -> None:
    view = RunView(light)
    assert view.fault is not None
    (victim,) = view.fault.prepared.targets
    ports = {"none": 0, "victim": view.port_of(victim), "other": view.port_of(view.fault.prepared.controls[0])}
    rows = [turn(-1, "first", f"s{number}") for number in range(3)]
    for number, where in enumerate(on):
        rows.append(turn(1, "drop", f"s{number}", cause="eof", code=None, upstream=ports[where], last_ns=0.5))
    finding = DropShare().judge(seen(rows))
    assert finding.status is status, finding
    assert said in finding.said


@pytest.mark.parametrize(
    ("rows", "status", "said"),
    [
        (echoes(), Status.PASS, "9 came back once each; 1 ended with their connections"),
        (echoes(lost=2), Status.FAIL, "2 lost outside drops, 0 doubled (echo.stream)"),
        (echoes(doubled=1), Status.FAIL, "0 lost outside drops, 1 doubled (echo.stream)"),
        (echoes(back=0, in_flight=10), Status.INCONCLUSIVE, "0 messages came back, too few to judge"),
        (dials(0.1), Status.INCONCLUSIVE, "no echo session"),
    ],
)
def test_echo_kept(seen: Any, rows: Rows, status: Status, said: str) -> None:
    finding = EchoKept().judge(seen(rows))
    assert finding.status is status
    assert said in finding.said


def lost(session: str, population: str, back: float | None, **more: Any) -> Rows:
    drop = {"cause": "close", "code": 1001, "upstream": 0, "initiator": "server", "last_ns": 0.8}
    rows = [turn(-1, "open", session, population), turn(-0.5, "first", session, population)]
    rows.append(turn(1.0, "drop", session, population, **drop))
    if more:
        rows.append(turn(1.0, "gaveup", session, population, **more))
    if back is not None:
        rows += [
            turn(back - 0.2, "dial", session, population),
            turn(back - 0.1, "open", session, population, upstream=0),
        ]
        rows.append(turn(back, "first", session, population))
    return [*rows, {"t_ns": 8.0, "ev": "checkpoint", "opens": 0, "drops": 0, "stops": 0, "open": 0, "first": 0}]


@pytest.mark.parametrize(
    ("rows", "status", "said"),
    [
        (lost("i", "inbox.stream", 2.5), Status.PASS, "1 of 1 back, slowest 1.50 s (i)"),
        (lost("i", "inbox.stream", 5.5), Status.FAIL, "1 of 1 back, slowest 4.50 s (i)"),
        (lost("i", "inbox.stream", None), Status.FAIL, "1 of 1 are not back; i for > 7.0 s"),
        (lost("i", "inbox.stream", None, why="policy"), Status.FAIL, "for > 7.0 s (its client gave up: policy)"),
        (lost("i", "inbox.vscode", 2.5), Status.INCONCLUSIVE, "0 drops, too few to judge"),
    ],
)
def test_sessions_back_of_any_population(seen: Any, rows: Rows, status: Status, said: str) -> None:
    finding = SessionsBack("inbox.stream", within=3.0).judge(seen(rows))
    assert (finding.status, finding.objective) == (status, "sessions-back inbox.stream")
    assert said in finding.said


def test_the_report_shows_each_population_with_the_parts_of_its_gaps(seen: Any) -> None:
    rows = lost("a", "watch.eager", 2.0) + lost("b", "watch.vscode", None, why="close:1001") + echoes(doubled=1)
    text = sessions_block(seen(sorted(rows, key=lambda row: row["t_ns"])))
    for line in (
        "watch.eager: 1 of 1 opened, 1 dropped in the window, 1 back",
        "1 by close 1001 from ?",
        "gap p50, p95, max: 1.20 s = detect 0.20 + backoff 0.80 + dial 0.10 + resume 0.10  (1 dial)",
        "back: 50% in 1.2 s, 95% in 1.2 s",
        "watch.vscode: 1 of 1 opened, 1 dropped in the window, 0 back, 1 gave up",
        "back: 50% never seen, 95% never seen (1 of 1 last seen down)",
        "echo: 10 sent, 9 back, 0 lost outside drops, 1 in flight at an end, 1 doubled",
        "opens - closes = live: WRONG: the meter counted 0 opens, its rows say 4",
    ):
        assert line in text
