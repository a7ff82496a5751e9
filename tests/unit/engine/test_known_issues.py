from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING

import pytest

from harness import discover
from harness.errors import UsageError
from harness.known_issues import FILE, KnownIssue, explained, register
from harness.verdict import Finding, Status, decide

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

DAY_NS = 86_400 * 10**9
ISSUE = KnownIssue("x", "coder/coder#1", "replica-kill", "bad-seconds", ">=2.29,<2.36", date(2027, 1, 1), "it is slow")


def test_the_shipped_register_names_what_exists() -> None:
    scenarios, objectives = discover.scenarios(), {cls.name for cls in discover.objectives().values()}  # type: ignore[attr-defined]
    for issue in register():
        assert issue.scenario in scenarios, issue
        assert issue.objective.partition(" ")[0] in objectives, issue
        assert issue.issue.startswith("coder/coder#")


@pytest.mark.parametrize(
    ("version", "known"),
    [
        ("v2.29.0+1234567", True), ("v2.35.9", True), ("2.30.1-standin+0000000", True), ("v2.36.0+abc", False),
        ("v2.28.9", False), ("", False), ("devel", False),
    ],
)  # fmt: skip
def test_versions_decide(version: str, known: bool) -> None:
    assert explained([ISSUE], "replica-kill", "bad-seconds", version) == ("coder/coder#1: it is slow" if known else "")


def test_scenario_and_objective_decide() -> None:
    assert not explained([ISSUE], "replica-freeze", "bad-seconds", "v2.30.0")
    assert not explained([ISSUE], "replica-kill", "outage", "v2.30.0")
    of_a_population = KnownIssue("y", "i", "replica-kill", "sessions-back", ">=2", date(2027, 1, 1), "s")
    assert explained([of_a_population], "replica-kill", "sessions-back watch.vscode", "v2.30.0")


def test_it_warns_from_its_day_on() -> None:
    new_year = 20_819 * DAY_NS  # 2027-01-01
    assert not ISSUE.expired(new_year - 1)
    assert ISSUE.expired(new_year)


def test_a_known_failure_stays_one_and_is_counted_apart() -> None:
    failed = Finding("bad-seconds", Status.FAIL, "3 s", known="coder/coder#1: it is slow")
    other = Finding("outage", Status.FAIL, "2 s")
    verdict = decide([], [failed, other], None, None)
    assert (verdict.status, verdict.exit_code) == (Status.FAIL, 1)
    assert verdict.why == "bad-seconds: 3 s (1 of 2 failed objectives are known issues)"
    assert decide([], [other], None, None).why == "outage: 2 s"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda text: text.replace("  issue:", "  isue:"), "entry 1: wanted exactly the keys id, issue,"),
        (
            lambda text: text.replace("2027-05-31", "soon"),
            "entry 1: expires must be a day such as 2027-05-31, saw 'soon'",
        ),
        (lambda text: text.replace('">=2.20"', "2.2"), "entry 1: versions must be a text, saw 2.2"),
        (lambda text: text.replace('">=2.20"', '"newest"'), "slow-exit: versions: "),
        (lambda text: text.replace("slow-exit-rolling", "slow-exit"), "two entries share an id"),
        (lambda text: text.replace("- id", "- [id"), "cannot be read: "),
        (lambda _: "id: x", "wanted a list of entries"),
    ],
)
def test_a_bad_entry_is_named(change: Callable[[str], str], said: str, tmp_path: Path) -> None:
    path = tmp_path / "issues.yaml"
    path.write_text(change(FILE.read_text()))
    with pytest.raises(UsageError, match=str(path)) as caught:
        register(path)
    assert said in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_an_empty_register_is_fine(tmp_path: Path) -> None:
    path = tmp_path / "issues.yaml"
    path.write_text("")
    assert register(path) == ()
