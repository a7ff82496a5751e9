from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.populations import Drop, Population, SessionLedger, read_sessions, workspace_of
from harness.series import SECOND, Interval

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

EVER = Interval(0, 1 << 62)


def turn(t: int, ev: str, session: str = "watch-00", **more: Any) -> dict[str, Any]:
    return {"t_ns": t, "session": session, "policy": "eager", "kind": "watch", "ev": ev, **more}


def checkpoint(t: int, *counts: int) -> dict[str, Any]:
    opens, drops, stops, opened, first = counts
    return {
        "t_ns": t,
        "ev": "checkpoint",
        "opens": opens,
        "drops": drops,
        "stops": stops,
        "open": opened,
        "first": first,
    }


@pytest.fixture
def folded(tmp_path: Path) -> Any:
    def fold(rows: Iterable[dict[str, Any]]) -> SessionLedger:
        path = tmp_path / "sessions.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return read_sessions(path)

    return fold


@pytest.fixture
def drops_of(folded: Any) -> Any:
    def drops(rows: Iterable[dict[str, Any]]) -> list[Drop]:
        found: list[Drop] = folded(rows).population("watch.eager").drops
        return found

    return drops


def test_a_session_is_back_with_its_first_message_and_not_with_its_socket(drops_of: Any) -> None:
    rows = [
        turn(1, "dial", attempt=1), turn(2, "open", upstream=7), turn(3, "first", build_number=1),
        turn(10, "drop", cause="eof", code=None, upstream=7, last_ns=4),
        turn(11, "dial", attempt=1), turn(12, "refused", why="status:502"),
        turn(13, "dial", attempt=2), turn(14, "open", upstream=8),
    ]  # fmt: skip
    [drop] = drops_of(rows)
    assert (drop.back, drop.opened, drop.upstream_after, drop.attempts) == (None, 14, 8, 2)
    [drop] = drops_of([*rows, turn(20, "first", build_number=3)])
    assert (drop.back, drop.build_number, drop.cause, drop.upstream) == (20, 3, "eof", 7)
    parts = drop.parts
    assert (parts.detect, parts.backoff, parts.dial, parts.resume) == (6, 1 + 1, 1 + 1, 6)
    assert parts.total == drop.back - drop.last == 16


def test_a_second_loss_while_still_down_is_the_same_drop(drops_of: Any) -> None:
    rows = [
        turn(1, "open", upstream=7), turn(2, "first"), turn(10, "drop", cause="eof", upstream=7, last_ns=10),
        turn(11, "open", upstream=8), turn(12, "drop", cause="silent", upstream=8, last_ns=11),
        turn(13, "open", upstream=9), turn(14, "first", build_number=2),
        turn(20, "drop", cause="close", code=1000, upstream=9),
    ]  # fmt: skip
    drops = drops_of(rows)
    assert [(d.at, d.back, d.code) for d in drops] == [(10, 14, None), (20, None, 1000)]
    assert drops[0].parts.total == 4


@given(
    st.lists(st.tuples(st.sampled_from(["dial", "refused", "open", "drop", "event", "error"]), st.integers(0, 9))),
    st.integers(0, 50),
)
def test_the_parts_of_a_gap_sum_to_it_whatever_happened(turns: list[tuple[str, int]], unheard: int) -> None:
    population, down, now = Population("watch.eager"), {}, 100
    population.add(turn(now, "drop", cause="eof", last_ns=now - unheard), "watch-00", down)
    for ev, step in turns:
        now += step
        population.add(turn(now, ev), "watch-00", down)
    population.add(turn(now + 3, "first"), "watch-00", down)
    [drop] = population.drops
    assert drop.parts.total == now + 3 - (100 - unheard)
    assert not down


def test_populations_are_kept_apart(folded: Any) -> None:
    rows = [
        turn(1, "dial"),
        turn(2, "dial", session="watch-01", policy="stream"),
        turn(3, "dial", session="echo-01", kind="echo"),
    ]
    ledger = folded(rows)
    assert {name: p.names for name, p in ledger.populations.items()} == {
        "watch.eager": ["watch-00"],
        "watch.stream": ["watch-01"],
        "echo.eager": ["echo-01"],
    }
    assert ledger.population("watch.eager").never_opened == ["watch-00"]
    assert ledger.population("inbox.vscode").names == []


def test_rows_of_an_older_meter_are_watchers_that_said_nothing_of_their_last_exchange(folded: Any) -> None:
    rows = [{"t_ns": 5, "session": "w", "policy": "eager", "ev": "drop", "cause": "eof"}]
    ledger = folded(rows)
    [drop] = ledger.population("watch.eager").drops
    assert (drop.last, drop.parts.detect, ledger.checkpoints) == (5, 0, 0)


def test_who_gave_up_is_never_back_and_says_why(folded: Any) -> None:
    rows = [
        turn(1, "open"), turn(2, "first"), turn(5, "drop", cause="close", code=1001), turn(6, "gaveup", why="close:1001"),
        turn(1, "dial", session="b"), turn(2, "refused", session="b"), turn(3, "gaveup", session="b", why="status:401"),
        checkpoint(SECOND, 1, 1, 0, 0, 0),
    ]  # fmt: skip
    population = folded(rows).population("watch.eager")
    assert population.gave_up == {"watch-00": "close:1001", "b": "status:401"}
    [drop] = population.drops
    assert (drop.gave_up, drop.back, population.end) == ("close:1001", None, SECOND)
    assert population.survival([drop]).down == (SECOND - 5,)


CALM = [turn(1, "open"), turn(2, "first"), turn(3, "open", session="b")]


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([*CALM, checkpoint(4, 2, 0, 0, 2, 1), turn(5, "stop"), checkpoint(6, 2, 0, 1, 1, 0)], None),
        ([*CALM, checkpoint(4, 2, 0, 0, 1, 1)], "the meter counted 1 open, its rows say 2"),
        ([*CALM, checkpoint(4, 3, 0, 0, 2, 1)], "the meter counted 3 opens, its rows say 2"),
        ([*CALM, checkpoint(4, 2, 0, 0, 2, 2)], "the meter counted 2 first, its rows say 1"),
        ([*CALM, turn(4, "open", session="b"), checkpoint(5, 3, 0, 0, 3, 1)], "3 are open by the count of rows, 2 by"),
        ([*CALM[:2], checkpoint(4, 2, 0, 0, 2, 1)], "the meter counted 2 opens, its rows say 1"),
        (
            [checkpoint(4, 0, 0, 0, 1, 0), *CALM, checkpoint(5, 2, 0, 0, 2, 1)],
            "the meter counted 1 open, its rows say 0",
        ),
        ([{"t_ns": 1, "ev": "checkpoint"}], "the meter counted None opens"),
    ],
)
def test_checkpoints_are_held_against_the_rows(folded: Any, rows: list[dict[str, Any]], said: str | None) -> None:
    ledger = folded(rows)
    assert ledger.checkpoints
    if said is None:
        assert ledger.disagreement is None
    else:
        assert said in (ledger.disagreement or "")


def test_a_lost_row_is_seen_at_the_next_checkpoint(folded: Any) -> None:
    rows = [*CALM, turn(4, "drop", session="b", cause="eof"), checkpoint(5, 2, 1, 0, 1, 1)]
    assert folded(rows).disagreement is None
    for lost in range(4):
        assert folded(rows[:lost] + rows[lost + 1 :]).disagreement is not None, lost


def test_the_herd_is_the_busiest_second_and_says_when_it_began() -> None:
    population = Population("watch.eager")
    moments = [0, SECOND // 2, SECOND, 5 * SECOND, 5 * SECOND + 1, 6 * SECOND - 1, 6 * SECOND]
    population.dials.extend(reversed(moments))
    assert population.peak_dials(EVER) == (3, 5 * SECOND)
    assert population.peak_dials(Interval(0, 2 * SECOND)) == (2, 0)
    assert population.peak_dials(Interval(2 * SECOND, 3 * SECOND)) == (0, 2 * SECOND)


@given(st.lists(st.integers(0, 5 * SECOND), max_size=30))
def test_the_herd_is_what_counting_every_second_finds(moments: list[int]) -> None:
    population = Population("watch.eager")
    population.dials.extend(moments)
    best = max((sum(start <= m < start + SECOND for m in moments) for start in moments), default=0)
    assert population.peak_dials(EVER).dials == best


def test_echoes_are_summed_over_connections(folded: Any) -> None:
    def counts(**more: int) -> dict[str, int]:
        return {"sent": 10, "back": 9, "lost": 0, "in_flight": 1, "doubled": 0, "reordered": 0, "late": 0} | more

    echo = {"kind": "echo", "session": "e"}
    rows = [turn(1, "open", **echo), turn(2, "drop", cause="eof", echo=counts(), **echo), turn(3, "open", **echo)]
    rows.append(turn(4, "stop", echo=counts(lost=2, doubled=1), **echo))
    found = folded(rows).population("echo.eager").echo
    assert (found.sent, found.back, found.lost, found.in_flight, found.doubled) == (20, 18, 2, 2, 1)


@pytest.mark.parametrize(
    "row",
    [
        {},
        {"t_ns": "1", "session": "a", "ev": "open"},
        {"t_ns": 1, "session": 7, "ev": "open"},
        {"t_ns": 1, "session": "a"},
        {"t_ns": 1, "session": "a", "ev": "sang"},
        {"t_ns": 1, "session": "a", "ev": "drop"},
        {"t_ns": 1, "session": "a", "ev": "stop", "echo": {"sent": "many"}},
    ],
)
def test_a_row_that_is_none_of_ours_breaks_nothing(folded: Any, row: dict[str, Any]) -> None:
    folded([*CALM, row, turn(9, "stop")])


def test_a_missing_ledger_has_nobody(tmp_path: Path) -> None:
    ledger = read_sessions(tmp_path / "nowhere")
    assert (ledger.populations, ledger.checkpoints, ledger.disagreement) == ({}, 0, None)


def test_watchers_without_a_workspace_are_left_out() -> None:
    assert workspace_of([{"id": "a", "workspace": "w"}, {"id": "b"}, {"id": "c", "workspace": ""}]) == {"a": "w"}
