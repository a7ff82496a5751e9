from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from harness import Red, discover
from harness.errors import StackError, UsageError
from harness.selftest.cases import Case, cases
from harness.selftest.checks import Again, Played, deviation, disagreement
from harness.selftest.matrix import mirror_rows, rows
from harness.selftest.mirrors.base import Lab, Mirror, Seen
from harness.selftest.players import settings_for
from harness.selftest.render import as_json, table
from harness.selftest.rows import Row, exit_code
from harness.verdict import Finding, Gate, Status, decide

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness.verdict import Verdict

NAME = "replica-kill"
GATE = Gate("harness", ok=True, said="ran to its end")


def scenario(*reds: Red) -> Any:
    return SimpleNamespace(name=NAME, red_by=reds, tags=frozenset({"smoke"}))


def case(objective: str = "", *bugs: str, **settings: str) -> Case:
    return Case(scenario(), bugs or ("some-bug",), objective, settings)


def verdict(*broken: str, gates: tuple[Gate, ...] = (GATE,), dirty: str | None = None) -> Verdict:
    findings = [Finding(name, Status.FAIL, f"{name} said") for name in broken]
    return decide(list(gates), [*findings, Finding("kept", Status.PASS, "well")], None, dirty)


def test_bugs_are_alone_and_twins_of_the_same_settings_together() -> None:
    found = cases(
        [
            scenario(
                Red("a", "first", twin="a-twin", settings={"writers": "30"}),
                Red("b", "second", twin="b-twin"),
                Red("c", "third"),
                Red("d", "second", twin="d-twin"),
                Red("e", "second", twin="d-twin"),
                Red("f", "fourth", twin="f-twin", modelled=True),
            )
        ]
    )
    assert [(c.kind, c.name, c.objective, dict(c.settings)) for c in found] == [
        ("bug", "a", "first", {"writers": "30"}), ("bug", "b", "second", {}), ("bug", "c", "third", {}),
        ("bug", "d", "second", {}), ("bug", "e", "second", {}), ("bug", "f", "fourth", {}),
        ("twin", "a-twin", "", {"writers": "30"}), ("twin", "b-twin,d-twin", "", {}), ("twin", "f-twin", "", {}),
    ]  # fmt: skip
    assert [c.name for c in found if c.modelled] == ["f", "f-twin"]


def test_every_declared_bug_and_twin_is_played() -> None:
    known = discover.scenarios().values()
    played = {(c.scenario.name, bug) for c in cases(known) for bug in c.bugs}
    assert played == {(s.name, name) for s in known for red in s.red_by for name in (red.bug, red.twin) if name}


@pytest.mark.parametrize(
    ("objective", "seen", "code", "wrong"),
    [
        ("a", verdict("a"), 1, None),
        ("a", verdict("a", "b"), 1, None),
        ("a", verdict("b", "a"), 1, "b broke first: b: b said"),
        ("a", verdict("a b"), 1, "a b broke first: a b: a b said"),
        ("a", verdict(), 0, "PASS: all 1 objectives kept, every fault proven and healed"),
        ("a", verdict("a", gates=(Gate("fault", ok=False, said="none"),)), 3, "INCONCLUSIVE: fault: none"),
        ("a", verdict("a"), 0, "exit code 0 for FAIL, which is 1"),
        ("a", verdict("a", dirty="left"), 1, "exit code 1 for FAIL DIRTY, which is 6"),
        ("a", verdict("a", dirty="left"), 6, "DIRTY: a: a said; DIRTY: left"),
        ("", verdict(), 0, None),
        ("", verdict(), 1, "exit code 1 for PASS, which is 0"),
        ("", verdict("a"), 1, "FAIL: a: a said"),
        ("", verdict(gates=(Gate("load", ok=False, said="none"),)), 3, "INCONCLUSIVE: load: none"),
        ("", verdict(dirty="left"), 6, "DIRTY: all 1 objectives kept, every fault proven and healed; DIRTY: left"),
    ],
)
def test_what_is_not_as_declared(objective: str, seen: Verdict, code: int, wrong: str | None) -> None:
    assert deviation(case(objective), Played(seen, code, Path())) == wrong


def saved(tmp_path: Path, seen: Verdict) -> Played:
    tmp_path.joinpath("verdict.json").write_text(seen.to_json())
    return Played(seen, seen.exit_code, tmp_path, "local")


def test_a_fresh_process_must_say_the_same(tmp_path: Path) -> None:
    played = saved(tmp_path, verdict("a"))
    same = tmp_path.joinpath("verdict.json").read_bytes()
    assert disagreement(played, Again(1, same)) is None
    assert "the exit code is 0, not 1" in str(disagreement(played, Again(0, same)))
    assert "the verdict is not the same" in str(disagreement(played, Again(1, same + b" ")))
    other = Played(verdict(), 0, tmp_path)
    assert disagreement(other, Again(1, same)) == "it said PASS and saved FAIL"
    assert disagreement(Played(verdict(), 0, tmp_path / "gone"), Again(0, b"")) == "its verdict was not saved"


def test_rows_of_a_player(tmp_path: Path) -> None:
    ends = iter([verdict("a"), StackError("no free port\nsecond line"), verdict(), verdict("b")])

    def play(_case: Case) -> Played:
        end = next(ends)
        if isinstance(end, Exception):
            raise end
        return saved(tmp_path, end)

    def again(directory: Path) -> Again:
        said = directory.joinpath("verdict.json").read_bytes()
        return Again({"PASS": 0, "FAIL": 1}[json.loads(said)["status"]], said)

    found = list(rows([case("a"), case("a"), case("", "x", "y"), case("a")], play, again=again))
    assert [(r.kind, r.name, r.got, r.first, r.ok) for r in found] == [
        ("bug", "some-bug", "FAIL", "a", True), ("bug", "some-bug", "ERROR", "", False),
        ("twin", "x,y", "PASS", "", True), ("bug", "some-bug", "FAIL", "b", False),
    ]  # fmt: skip
    assert [r.said for r in found[1::2]] == ["no free port", "b broke first: b: b said"]
    assert exit_code(found) == 1
    text = table(found, 9).splitlines()
    assert [line[0] for line in text[1:-1]] == ["✔", "✘", " ", "✔", "✘", " "]
    assert text[-1].startswith("as declared: 1 of 3 bugs, 1 of 1 runs of twins, 5 not played; ")
    data = json.loads(as_json(found, 9))
    assert (data["ok"], data["planned"], len(data["rows"])) == (False, 9, 4)
    assert data["rows"][0] | {"seconds": 0} == {
        "kind": "bug", "name": "some-bug", "scenario": NAME, "stack": "local", "expected": "FAIL, a first", "got": "FAIL",
        "first": "a", "ok": True, "said": "a: a said", "seconds": 0, "directory": str(tmp_path), "code": 1,
    }  # fmt: skip


def test_a_signal_ends_it(tmp_path: Path) -> None:
    def play(_case: Case) -> Played:
        return Played(verdict(), 130, tmp_path)

    found = list(rows([case(), case()], play, again=lambda _: pytest.fail("nothing to judge")))
    assert [(r.ok, r.said) for r in found] == [(False, "stopped by signal 2")]
    assert exit_code(found) == 130


def row(kind: str, got: str, *, ok: bool, code: int = 0) -> Row:
    return Row(kind, "n", "s", "fake", "PASS", got, "", ok, "said", 1.0, "", code)


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ([], 0),
        ([row("bug", "FAIL", ok=True)], 0),
        ([row("bug", "FAIL", ok=True), row("twin", "INCONCLUSIVE", ok=False, code=3)], 3),
        ([row("bug", "INCONCLUSIVE", ok=False, code=3), row("twin", "FAIL", ok=False, code=1)], 1),
        ([row("mirror", "INCONCLUSIVE", ok=False)], 1),
        ([row("twin", "INCONCLUSIVE DIRTY", ok=False, code=6)], 1),
        ([row("twin", "ERROR", ok=False, code=5)], 1),
    ],
)
def test_what_it_all_comes_to(given: list[Row], code: int) -> None:
    assert exit_code(given) == code


def seen(*noticed: bool) -> Mirror:
    def see(_lab: Lab) -> Iterator[Seen]:
        for number, one in enumerate(noticed):
            yield Seen(f"way {number}", "INCONCLUSIVE" if one else "PASS", "why", one, "")

    return Mirror("m", "breaks", "caught", see)


@pytest.mark.parametrize(
    ("noticed", "ok", "scenario_", "said"),
    [
        ((True,), True, "way 0", "INCONCLUSIVE: why"),
        ((True, True), True, "2 ways", "INCONCLUSIVE: why"),
        ((True, False), False, "way 1", "PASS: why"),
        ((), False, "-", "-: it broke nothing"),
    ],
)
def test_a_mirror_must_be_noticed_in_every_way(
    noticed: tuple[bool, ...], ok: bool, scenario_: str, said: str, tmp_path: Path
) -> None:
    (found,) = mirror_rows([seen(*noticed)], lambda _: tmp_path)
    assert (found.ok, found.got, found.scenario, found.said) == (ok, "noticed" if ok else "missed", scenario_, said)


def test_a_mirror_that_stumbles_is_missed(tmp_path: Path) -> None:
    def see(_lab: Lab) -> Iterator[Seen]:
        raise StackError("no stack")
        yield

    (found,) = mirror_rows([Mirror("m", "b", "c", see)], lambda _: tmp_path)
    assert (found.ok, found.said, exit_code([found])) == (False, "ERROR: no stack", 1)


def test_the_pace_is_quick_unless_the_user_or_the_case_says_otherwise() -> None:
    plain = settings_for(case(), {}, {}, {})
    assert (plain.time_scale, plain.baseline, plain.recovery, plain.writers) == (0.25, 4.0, 14.0, 15)
    needs = case(writers="30", hold="8s")
    told = settings_for(needs, {"CHAOS_CALM": "9s"}, {"time_scale": "1.0"}, {"recovery": "20s", "writers": "5"})
    assert (told.time_scale, told.baseline, told.calm, told.recovery) == (1.0, 4.0, 9.0, 20.0)
    assert (told.writers, told.hold) == (30, 8.0), "without them the bug would not show"
    assert settings_for(case(), {}, {"stack": "fake"}, {}).time_scale == 1.0
    modelled = settings_for(replace(case(), modelled=True), {}, {"stack": "local"}, {})
    assert (modelled.stack, modelled.time_scale) == ("fake", 1.0)
    with pytest.raises(UsageError, match="unknown key 'nosuch'"):
        settings_for(case(nosuch="1"), {}, {}, {})
