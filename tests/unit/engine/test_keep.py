"""Suites on the modelled stack: who gets the stack of the run before, who a fresh one, and what is said of it."""

from __future__ import annotations

import json
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest

from harness import discover, keep, session, suite
from harness.backends import fake
from harness.config import Settings
from harness.errors import NotReady
from harness.evidence import conclude
from harness.fake import replica
from harness.fake.life import FakeProcess
from harness.fake.store import Store
from harness.stack import Look
from harness.truth import SCHEMA_SQL
from harness.virtualtime import VirtualLoop

if TYPE_CHECKING:
    from pathlib import Path

KILL, FREEZE = discover.scenario("replica-kill"), discover.scenario("replica-freeze")


class Suite:
    """Plays suites, and keeps what was said."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.said: list[str] = []

    def play(self, *scenarios: Any, bugs: str = "", **more: Any) -> list[suite.Played]:
        repeat = more.pop("repeat", 1)
        flags = {key: more.pop(key) for key in ("fresh", "fail_fast") if key in more}
        settings = Settings(
            stack="fake", runs_dir=self.folder / "runs", state_dir=self.folder / "state", **({"seed": 1} | more)
        )
        env = {"STANDIN_BUGS": bugs} if bugs else {}
        return suite.play(
            scenarios or (FREEZE, KILL), repeat, settings, say=self.said.append, environ=env, loop_factory=VirtualLoop,
            **flags,
        )  # fmt: skip

    def lines(self, word: str) -> list[str]:
        return [line[10:] for line in self.said if word in line]


@pytest.fixture
def played(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Suite:
    """A run's id is the seed of its model: each test sees the same one every time."""
    ids = count(1)
    monkeypatch.setattr(session.secrets, "token_bytes", lambda size: next(ids).to_bytes(size, "big"))
    return Suite(tmp_path)


def events(run: suite.Played) -> list[dict[str, Any]]:
    assert run.directory is not None
    return [json.loads(line) for line in (run.directory / "events.jsonl").read_text().splitlines()]


def use(run: suite.Played) -> dict[str, Any]:
    found: dict[str, Any] = events(run)[0]["stack_use"]
    return found


def teardown(run: suite.Played) -> dict[str, Any]:
    assert run.directory is not None
    found: dict[str, Any] = json.loads((run.directory / "teardown.json").read_text())
    return found


def test_the_next_run_goes_on_with_the_stack_and_says_so(played: Suite) -> None:
    first, second, third = played.play(FREEZE, FREEZE, KILL)
    assert [run.status for run in (first, second, third)] == ["PASS"] * 3
    assert [run.stack for run in (first, second, third)] == ["fresh", "reused", "reused"]
    runs = [events(run)[0]["run"] for run in (first, second, third)]
    assert use(first) == {"reused": False, "why": keep.FIRST, "started_by": "", "before": []}
    assert use(second) == {"reused": True, "why": "", "started_by": runs[0], "before": runs[:1]}
    assert use(third) == {"reused": True, "why": "", "started_by": runs[0], "before": runs[:2]}
    assert [teardown(run).get("stack") for run in (first, second, third)] == ["kept for the next run"] * 2 + [None]
    assert len(played.lines("stack reused: ")) == 2
    assert played.lines("fresh stack: ") == [f"fresh stack: {keep.FIRST}"]
    assert third.directory is not None
    verdict, report = conclude(third.directory)
    assert verdict.status == "PASS"
    assert f"[stack reused: started by run {runs[0]}, 2 runs ({runs[0]}, {runs[1]}) before this one]" in report
    assert f"3 replicas, reused after 2 runs ({runs[0]}, {runs[1]})" in report
    table = suite.table([first, second, third], 3)
    assert "PASS          replica-freeze  reused  all" in table


def test_processes_are_the_same_but_for_those_that_were_healed(played: Suite, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replica, "_BUILD_S", 0.001)  # so that none is under way when its replica is killed
    first, second = played.play(KILL, FREEZE)

    assert second.stack == "reused", use(second)

    def made(run: suite.Played) -> dict[str, str]:
        return {e["name"]: e["ref"] for e in events(run) if e["kind"] == "resource.created"}

    assert made(second) == made(first), "the last life of each in the first run is its life in the second"
    assert sum(e["kind"] == "resource.created" for e in events(second)) == 6, "each is in the journal of this run"


def test_each_run_has_only_what_it_made_itself(played: Suite) -> None:
    first, second = played.play()
    for run, other in ((first, second), (second, first)):
        assert run.directory is not None
        name = events(other)[0]["run"]
        assert name not in (run.directory / "history.jsonl").read_text()
        truth = [e for e in events(run) if e["kind"] == "truth"]
        assert len(truth) == 2
        assert all(len(e["builds"]) >= 18 for e in truth)


def test_a_fault_of_the_run_before_is_not_undone_in_the_next(played: Suite) -> None:
    """Both runs call their first fault f1: the first one's time must not run out in the second."""
    undone = [[e for e in events(run) if e["kind"] == "fault.undone"] for run in played.play(repeat=2)]
    assert [[e["by"] for e in run] for run in undone] == [["runner"]] * 4


def test_fresh_is_always_fresh(played: Suite) -> None:
    runs = played.play(fresh=True)
    assert [run.stack for run in runs] == ["fresh"] * 2
    assert [use(run)["why"] for run in runs] == [keep.FRESH] * 2
    assert [teardown(run) for run in runs] == [{"left": []}] * 2
    assert runs[1].directory is not None
    assert f"fresh: {keep.FRESH}" in conclude(runs[1].directory)[1]


def test_a_stack_of_another_size_is_another_stack(played: Suite) -> None:
    runs = played.play(KILL, discover.scenario("scale-down"))
    assert [run.stack for run in runs] == ["fresh", "fresh"]
    assert use(runs[1])["why"] == "the next run needs replicas 4, the running stack has 3"
    assert teardown(runs[0]) == {"left": []}, "it was taken down with the run that was its last"


def test_a_build_that_died_with_its_replica_ends_the_stack(played: Suite, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replica, "_BUILD_S", 2.0)  # there always is one
    first, second = played.play(KILL, KILL)
    assert (first.status, second.stack) == ("PASS", "fresh"), first.why
    assert "could not be deleted: its st" in use(second)["why"]


def test_after_a_fail_comes_a_fresh_one(played: Suite) -> None:
    first, second = played.play(KILL, KILL, bugs="ack-before-commit")
    assert first.status == "FAIL"
    assert second.stack == "fresh"
    assert use(second)["why"].startswith("the run before is FAIL: writes-kept")


def test_the_suite_of_one_that_fails_fast_leaves_nothing(played: Suite) -> None:
    runs = played.play(KILL, KILL, bugs="ack-before-commit", fail_fast=True)
    assert [run.code for run in runs] == [1]
    assert teardown(runs[0]) == {"left": []}


def leftover(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Store, "left", lambda _, run, __: [(f"workspace chaos-{run}-0",), ("user x",)])


def dirty_schema(patch: pytest.MonkeyPatch) -> None:
    real = fake.FakeStack.sql

    async def sql(self: fake.FakeStack, query: str, *args: Any) -> Any:
        return [(7, True)] if query == SCHEMA_SQL else await real(self, query, *args)

    patch.setattr(fake.FakeStack, "sql", sql)


def toxic(patch: pytest.MonkeyPatch) -> None:
    real = fake.FakeStack.look

    async def look(self: fake.FakeStack) -> Look:
        found = await real(self)
        return Look(found.processes, found.states, [*found.held, "coder-2: the delay f9 is on"])

    patch.setattr(fake.FakeStack, "look", look)


def restarted_by_nobody(patch: pytest.MonkeyPatch) -> None:
    """One that dies and is back before anybody looks, after the run's own work."""
    real = fake.FakeStack.look
    looks = []

    async def look(self: fake.FakeStack) -> Look:
        looks.append(self)
        if len(looks) == 2:
            process = self.site.processes["coder-3"]
            process.take("KILL")
            process.start()
        return await real(self)

    patch.setattr(fake.FakeStack, "look", look)


def undeletable(patch: pytest.MonkeyPatch) -> None:
    """Builds that nobody works off: their workspaces stay."""
    patch.setattr(Store, "post", lambda self, job: self.jobs.append(job) if _deletes(job) else _real_post(self, job))


_real_post = Store.post


def _deletes(job: Any) -> bool:
    return bool(job.workspace and job.workspace.builds[-1].transition == "delete")


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (leftover, "is still in the database, and 1 more"),
        (dirty_schema, "the schema is dirty at version 7"),
        (toxic, "coder-2: the delay f9 is on"),
        (restarted_by_nobody, "nobody is known to have started it again"),
        (undeletable, "could not be deleted: its delete is pending"),
    ],
)
def test_whatever_is_not_clean_ends_the_stack(
    played: Suite, monkeypatch: pytest.MonkeyPatch, spoil: Any, why: str
) -> None:
    spoil(monkeypatch)
    first, second = played.play(FREEZE, FREEZE)
    assert (first.status, second.stack) == ("PASS", "fresh")
    assert why in use(second)["why"]
    assert played.lines("this stack ends with its run: ")
    assert teardown(first) == {"left": []}


def test_one_that_dies_between_two_runs_is_not_reused(played: Suite, monkeypatch: pytest.MonkeyPatch) -> None:
    real = keep.Keep.check

    def check(self: keep.Keep, needed: Any) -> dict[str, Any]:
        if self.kept is not None:
            process = self.kept.stack.targets[0]
            assert isinstance(process, FakeProcess)
            process.take("KILL")
        return real(self, needed)

    monkeypatch.setattr(keep.Keep, "check", check)
    first, second = played.play()
    assert (first.stack, second.stack) == ("fresh", "fresh")
    assert use(second)["why"] == "coder-1 is gone"
    assert second.status == "PASS"
    assert teardown(first) == {"left": []}, "it was closed, and the run that it served last says so"


def test_a_stack_that_nobody_takes_any_more_is_closed(played: Suite, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next run never comes to it: what is kept ends with the suite."""
    real, calls = session.make_run_dir, []

    def once(*args: Any) -> Path:
        calls.append(args)
        if len(calls) > 1:
            raise NotReady("no space")
        return real(*args)

    monkeypatch.setattr(session, "make_run_dir", once)
    first, second = played.play()
    assert (first.status, second.status, second.why) == ("PASS", "ERROR", "no space")
    assert teardown(first) == {"left": []}
    assert played.play(KILL)[0].status == "ERROR", "the lock is free again"
