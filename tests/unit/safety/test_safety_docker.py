"""Undo steps in containers, the removal of projects, and who runs them when."""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from fake_engine import PROJECT, FakeEngine

from harness.errors import StackError
from harness.safety import proc, undo
from harness.safety.leftovers import Leftovers
from harness.safety.link import open_keeper
from harness.safety.registry import Registration, load
from harness.safety.sweep import sweep

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.anyio
OURS = "chaos-abc"
DEAD = proc.ProcessRef(os.getpid(), proc.ref(os.getpid()).start - 1)


@pytest.fixture
def engine() -> Iterator[FakeEngine]:
    folder = tempfile.mkdtemp(prefix="chaos-fake-")  # short: a socket's path has at most 107 bytes
    with FakeEngine(Path(folder) / "docker.sock") as running:
        yield running
    shutil.rmtree(folder)


def done(*steps: undo.Step, within_s: float | None = None) -> list[tuple[bool, str]]:
    return [(outcome.ok, outcome.said) for outcome in undo.run(steps, within_s=within_s)]


def project(engine: FakeEngine) -> undo.Step:
    return undo.remove_project(engine.path, OURS)


def fill(engine: FakeEngine, name: str = OURS) -> None:
    for number in range(3):
        engine.add(f"{name}-c{number}", name, running=number != 1)
    engine.networks[f"{name}-n"] = {"Id": f"{name}-n", "Labels": {PROJECT: name}}
    engine.volumes[f"{name}-v"] = {"Name": f"{name}-v", "Labels": {PROJECT: name}}


def left(engine: FakeEngine) -> set[str]:
    return {*engine.containers, *engine.networks, *engine.volumes}


def test_a_stopped_container_is_started_and_a_running_one_left_alone(engine: FakeEngine) -> None:
    engine.add("c", running=False)
    step = undo.container_start(engine.path, "c")
    assert done(step, step) == [(True, "started c again"), (True, "c is running already")]
    assert engine.deeds() == ["POST start"]


def test_one_that_was_asked_to_leave_and_stays_is_ended_first(engine: FakeEngine, tmp_path: Path) -> None:
    asked = tmp_path / "asked"
    asked.write_text(engine.add("c")["State"]["StartedAt"])
    step = undo.container_start(engine.path, "c", asked)
    first, second = done(step, step)
    assert first == (True, "killed c, which was asked to leave and had not; started c again")
    assert second == (True, "c is running already"), "this life was never asked"
    assert engine.deeds() == ["POST kill", "POST wait", "POST start"]


def test_a_pause_ends_once_and_only_in_its_own_life(engine: FakeEngine) -> None:
    state = engine.add("c")["State"]
    life = state["StartedAt"]
    state["Paused"] = True
    step = undo.container_signal(engine.path, "c", life, "CONT")
    assert done(step, step) == [(True, "c goes on"), (True, "c is not paused")]
    state["StartedAt"] = "another"
    state["Paused"] = True
    gone = undo.container_signal(engine.path, "gone", life, "CONT")
    assert done(step, gone) == [(True, f"the c of {life} is gone already"), (True, "gone is gone already")]
    assert state["Paused"]


def test_a_signal_never_meets_a_later_life(engine: FakeEngine) -> None:
    life = engine.add("c")["State"]["StartedAt"]
    step = undo.container_signal(engine.path, "c", life, "KILL")
    assert done(step) == [(True, "sent SIGKILL to c")]
    assert done(undo.container_start(engine.path, "c"), step)[1] == (True, f"the c of {life} is gone already")
    assert engine.state("c")["Running"]


def test_processors_come_back(engine: FakeEngine) -> None:
    made = engine.add("c")
    ((ok, said),) = done(undo.container_cpu(engine.path, "c", 0))
    assert (ok, said, made["cpu"]) == (True, "c has every processor again", {"CpuQuota": -1, "CpuPeriod": 100_000})
    ((ok, said),) = done(undo.container_cpu(engine.path, "c", 1_500_000_000))
    assert (ok, said, made["cpu"]) == (True, "c has 1.5 processors again", {"NanoCpus": 1_500_000_000})
    assert done(undo.container_cpu(engine.path, "gone", 0)) == [(True, "gone is gone already")]


def test_a_network_has_its_names_and_address_again(engine: FakeEngine) -> None:
    made = engine.add("c")
    engine.networks["n"] = {"Id": "n"}
    step = undo.network_connect(engine.path, "n", "c", ["coder-1", "c"], "10.0.0.2")
    assert done(step, step) == [(True, "c is on n again"), (True, "c is on n already")]
    wanted = {"NetworkID": "n", "Aliases": ["coder-1", "c"], "IPAMConfig": {"IPv4Address": "10.0.0.2"}}
    assert made["NetworkSettings"]["Networks"] == {"net": wanted}


def test_a_project_goes_with_all_it_has_and_nothing_else(engine: FakeEngine) -> None:
    fill(engine)
    fill(engine, "chaos-abcd")
    before = left(engine)
    assert done(project(engine), project(engine)) == [
        (True, "removed 5 parts of chaos-abc"),
        (True, "chaos-abc is gone already"),
    ]
    assert before - left(engine) == {f"{OURS}-{part}" for part in ("c0", "c1", "c2", "n", "v")}


def test_a_project_that_is_not_ours_is_refused(engine: FakeEngine) -> None:
    fill(engine, "production")
    ((ok, said),) = done(undo.remove_project(engine.path, "production"))
    assert not ok
    assert "its name must start with chaos-" in said
    assert len(left(engine)) == 5


@pytest.mark.parametrize("status", [403, 409, 500])
def test_what_is_busy_is_tried_again(engine: FakeEngine, status: int) -> None:
    fill(engine)
    engine.busy[f"{OURS}-n"] = status
    threading.Timer(0.3, engine.busy.clear).start()
    assert done(project(engine)) == [(True, "removed 5 parts of chaos-abc")]


def test_what_stays_busy_is_a_failure(engine: FakeEngine) -> None:
    fill(engine)
    engine.busy[f"{OURS}-v"] = 409
    ((ok, said),) = done(project(engine), within_s=0.5)
    assert (ok, said) == (False, "TimeoutError: not done by its deadline")
    assert left(engine) == {f"{OURS}-v"}


def test_an_engine_that_is_restarting_is_waited_for(engine: FakeEngine) -> None:
    engine.add("c", running=False)
    engine.down()
    threading.Timer(0.4, engine.up).start()
    assert done(undo.container_start(engine.path, "c")) == [(True, "started c again")]


def test_no_engine_and_one_that_hangs_end_by_the_deadline(engine: FakeEngine) -> None:
    engine.add("hangs")
    begun = time.monotonic()
    ((ok, said),) = done(undo.container_start(engine.path, "hangs"), within_s=0.5)
    assert (ok, said) == (False, "TimeoutError: timed out")
    engine.down()
    ((ok, said),) = done(undo.container_start(engine.path, "c"), within_s=0.5)
    assert not ok
    assert said.startswith("FileNotFoundError")
    assert time.monotonic() - begun < 5


def test_a_refusal_says_what_the_engine_said(engine: FakeEngine) -> None:
    assert done(undo.container_start(engine.path, "c")) == [
        (False, "EngineError: the Docker engine answered 404: No such thing: c")
    ]


async def test_the_keeper_removes_a_project_and_leaves_its_containers_unhealed(
    engine: FakeEngine, tmp_path: Path
) -> None:
    fill(engine)
    async with open_keeper(tmp_path / "keeper.jsonl") as keeper:
        await keeper.project(engine.path, OURS)
        await keeper.arm("kill", time.monotonic() + 60, [undo.container_start(engine.path, f"{OURS}-c1")])
        with pytest.raises(StackError, match="its name must start with chaos-"):
            await keeper.project(engine.path, "production")
    assert keeper.left == []
    assert left(engine) == set()
    assert "POST start" not in engine.deeds()


async def test_the_keeper_heals_a_container_that_is_not_ours(engine: FakeEngine, tmp_path: Path) -> None:
    engine.add("theirs", running=False)
    async with open_keeper(tmp_path / "keeper.jsonl") as keeper:
        await keeper.arm("kill", time.monotonic() + 60, [undo.container_start(engine.path, "theirs")])
    assert keeper.left == []
    assert engine.state("theirs")["Running"]


async def test_what_the_keeper_could_not_remove_is_named(engine: FakeEngine, tmp_path: Path) -> None:
    async with open_keeper(tmp_path / "keeper.jsonl") as keeper:
        await keeper.project(engine.path, OURS)
        engine.add("hm", OURS)
        engine.busy["hm"] = 418
    assert keeper.left == ["project chaos-abc: EngineError: the Docker engine answered 418: hm is busy"]


async def test_without_its_keeper_the_harness_removes_the_project(engine: FakeEngine, tmp_path: Path) -> None:
    fill(engine)
    engine.add("theirs", running=False)
    async with open_keeper(tmp_path / "keeper.jsonl") as keeper:
        await keeper.project(engine.path, OURS)
        keeper.fallback()
    assert (keeper.left, left(engine)) == ([], {"theirs"})


def test_leftovers_heal_what_is_not_ours(engine: FakeEngine) -> None:
    engine.add("theirs", running=False)
    leftovers = Leftovers(armed={"kill": [undo.container_start(engine.path, "theirs")]})
    outcomes, missed = leftovers.clear()
    assert ([outcome.ok for outcome in outcomes], missed) == ([True], [])
    assert engine.state("theirs")["Running"]


def registration(engine: FakeEngine, tmp_path: Path) -> Registration:
    return Registration(tmp_path, "abc", tmp_path, projects=[project(engine)], harness=DEAD)


def test_a_sweep_removes_the_project_of_a_dead_run(engine: FakeEngine, tmp_path: Path) -> None:
    fill(engine)
    one = registration(engine, tmp_path)
    one.update()
    assert load(one.path).projects == one.projects
    said: list[str] = []
    sweep(tmp_path, said.append)
    assert said == ["run abc: removed 5 parts of chaos-abc", "run abc: removed its registration"]
    assert (left(engine), one.path.exists()) == (set(), False)


def test_a_sweep_keeps_what_it_could_not_remove(
    engine: FakeEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.safety.sweep._PROJECTS_S", 0.5)
    engine.down()
    one = registration(engine, tmp_path)
    one.update()
    (line,) = sweep(tmp_path, lambda _: None)
    assert line.startswith("run abc: could not remove chaos-abc: ")
    assert one.path.exists()


def test_a_project_of_another_run_is_never_registered(engine: FakeEngine, tmp_path: Path) -> None:
    one = Registration(tmp_path, "xyz", tmp_path, projects=[project(engine)])
    with pytest.raises(ValueError, match="must start with chaos-xyz"):
        one.update()
