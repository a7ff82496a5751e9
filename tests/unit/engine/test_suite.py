from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from harness import discover
from harness.errors import NotReady, StackError, UsageError
from harness.selection import parse, select
from harness.suite import Played, exit_code, play_all, table

if TYPE_CHECKING:
    from harness.api import Scenario


def names(*args: object) -> list[str]:
    return [s.name for s in select(*args)]  # type: ignore[arg-type]


def test_everything_by_default_and_what_is_named_in_its_order() -> None:
    assert names([], None, []) == sorted(discover.scenarios())
    assert names(["replica-kill", "replica-freeze"], None, []) == ["replica-kill", "replica-freeze"]


def test_expressions_and_tags() -> None:
    assert names([], "kill or freeze", []) == ["replica-freeze", "replica-kill"]
    assert names([], "replica and not (freeze or drain)", ["smoke"]) == ["replica-kill"]
    assert names([], "KILL", []) == ["replica-kill"]


@pytest.mark.parametrize("text", ["", "kill and", "(kill", "kill freeze", "not", "and", "kill or or freeze", ")"])
def test_a_broken_expression_is_named(text: str) -> None:
    with pytest.raises(UsageError, match="is no expression; write words with and, or, not"):
        parse(text)


def test_a_word_may_hold_anything_but_blanks_and_brackets() -> None:
    fits = parse("replica-kill and not 1+1 and not lambda:0")
    assert fits(discover.scenario("replica-kill"))


def test_nothing_selected_and_unknown_tags() -> None:
    with pytest.raises(NotReady, match="no scenario is selected; there are: "):
        select([], "nosuchthing", [])
    with pytest.raises(UsageError, match=r"unknown tag 'smok' \(did you mean 'smoke'\?\); known: "):
        select([], None, ["smok"])
    with pytest.raises(UsageError, match="unknown scenario 'replica-kil'"):
        select(["replica-kil"], None, [])


def run(code: int, name: str = "a", number: int = 0) -> Played:
    return Played(name, number, {0: "PASS", 1: "FAIL", 3: "INCONCLUSIVE"}.get(code, "?"), "why", code, Path("run"))


@pytest.mark.parametrize(
    ("codes", "whole"),
    [
        ([0, 0], 0), ([0, 3], 3), ([3, 5], 5), ([5, 4], 4), ([4, 70], 70), ([70, 1], 1), ([1, 6], 6), ([6, 130, 0], 130),
    ],
)  # fmt: skip
def test_the_worst_run_decides(codes: list[int], whole: int) -> None:
    assert exit_code([run(code) for code in codes]) == whole
    assert exit_code([run(code) for code in reversed(codes)]) == whole


def suite(*codes: int, fail_fast: bool = False, repeat: int = 1) -> list[Played]:
    given = iter(codes)
    chosen = [discover.scenario("replica-kill"), discover.scenario("replica-freeze")]

    def play(scenario: Scenario, number: int, following: Scenario | None) -> Played:
        code = next(given)
        if code == 5:
            raise StackError("no free port\nsecond line")
        return run(code, scenario.name, number)

    return play_all(chosen, repeat, play, fail_fast=fail_fast)


def test_rounds_go_through_all_scenarios() -> None:
    played = suite(0, 1, 3, 0, repeat=2)
    assert [(p.scenario, p.number) for p in played] == [
        ("replica-kill", 0), ("replica-freeze", 0), ("replica-kill", 1), ("replica-freeze", 1),
    ]  # fmt: skip
    text = table(played, 4)
    assert text.splitlines()[-1] == "4 runs: 1 FAIL, 1 INCONCLUSIVE, 2 PASS"


def test_an_error_of_one_run_is_its_result() -> None:
    played = suite(5, 0)
    assert (*played[0][2:4], played[0].directory) == ("ERROR", "no free port", None)
    assert [p.code for p in played] == [StackError("").exit_code, 0]


def test_fail_fast_and_signals_end_it() -> None:
    assert len(suite(3, 0, fail_fast=True)) == 1
    stopped = suite(130, 0, repeat=2)
    assert len(stopped) == 1
    assert table(stopped, 4).splitlines()[-1] == "1 runs: 1 ?, 3 not played"
