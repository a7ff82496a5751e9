"""Nothing of a run may outlive it, whoever dies first."""

from __future__ import annotations

import asyncio
import signal
import time
from typing import TYPE_CHECKING

import pytest
from safety_lab import DEAF, ENV, Plan, entries, eventually, gone, harness_process, sleeper

from harness.errors import KeeperLost
from harness.safety import proc, undo
from harness.safety.link import open_keeper
from harness.safety.spec import Spec

if TYPE_CHECKING:
    from pathlib import Path

ORPHAN = ("/bin/sh", "-c", "(setsid sleep 300 &) ; exec sleep 300")


def test_when_the_harness_is_killed_everything_goes(tmp_path: Path) -> None:
    log, ours, said = tmp_path / "keeper.jsonl", tmp_path / "chaos-r1", tmp_path / "said.txt"
    ours.mkdir()
    plan = Plan(log, owned=[str(ours)])
    plan.specs = [sleeper("coder-1"), Spec("hides", ORPHAN, ENV), Spec("deaf", DEAF, ENV, stdout=said)]
    bystander = Plan(tmp_path / "other.jsonl", specs=[sleeper("other")])
    with harness_process(bystander) as other:
        frozen = other.processes["other"]
        proc.send(frozen, signal.SIGSTOP)
        plan.armed = {"f1": {"revert_by_s": time.monotonic() + 60, "steps": [undo.signal(frozen, "CONT").to_json()]}}
        with harness_process(plan) as harness:
            eventually(lambda: proc.state(frozen) == "frozen" and said.exists() and said.read_text(), "ready")
            eventually(lambda: len(proc.children(harness.keeper.pid)) == 4, "the orphan")
            everything = [harness.keeper, *proc.descendants(harness.keeper.pid)]
            proc.send(harness.processes["coder-1"], signal.SIGSTOP)
            harness.popen.kill()
            eventually(gone(*everything), "all of the run", within_s=5)
        assert not ours.exists()
        assert proc.state(frozen) == "running", "the armed step thawed it"
    (undone,) = [entry for entry in entries(log) if entry["ev"] == "undone"]
    assert (undone["fault"], undone["why"]) == ("f1", "the harness is gone")
    assert entries(log)[-1]["left"] == []


def test_a_stalled_harness_cannot_keep_a_fault_past_its_time(tmp_path: Path) -> None:
    log, ours = tmp_path / "keeper.jsonl", tmp_path / "chaos-r1"
    ours.mkdir()
    armed = {"f7": {"revert_by_s": time.monotonic() + 1.5, "steps": [undo.Step("mystery").to_json()]}}
    with harness_process(Plan(log, [str(ours)], [sleeper("coder-1")], armed)) as harness:
        harness.popen.send_signal(signal.SIGSTOP)
        eventually(gone(harness.keeper, *harness.processes.values()), "all of the run", within_s=6)
        assert not ours.exists()
        harness.popen.send_signal(signal.SIGCONT)
        assert harness.line() == {"reverted": "f7", "why": "f7 passed its revert_by: the harness is stalled"}
        assert harness.line() == {"lost": True}
        assert harness.popen.wait(10) == 0


def test_when_the_keeper_is_killed_its_children_die_and_the_harness_does_the_rest(tmp_path: Path) -> None:
    ours = tmp_path / "chaos-r1"
    ours.mkdir()

    async def run() -> None:
        async with open_keeper(tmp_path / "keeper.jsonl") as keeper:
            await keeper.own(ours)
            direct = await keeper.spawn(sleeper())
            below = Spec("below", ("/bin/sh", "-c", "sleep 300 & wait"), ENV)
            parent = await keeper.spawn(below)
            grandchild = await asyncio.to_thread(eventually, lambda: proc.children(parent.pid), "a grandchild")
            steps = [undo.start("sleeper"), undo.signal(direct, "CONT")]
            await keeper.arm("f1", time.monotonic() + 60, steps)
            waiting = asyncio.create_task(keeper.stop("sleeper"))
            proc.send(keeper.ref, signal.SIGSTOP)
            await asyncio.sleep(0)
            proc.send(keeper.ref, signal.SIGKILL)
            await asyncio.wait_for(keeper.lost.wait(), 5)
            with pytest.raises(KeeperLost, match="died while it was asked to stop sleeper"):
                await waiting
            with pytest.raises(KeeperLost, match="is gone; it was asked to start sleeper"):
                await keeper.start("sleeper")
            await asyncio.to_thread(eventually, gone(direct, parent), "the direct children")
            outcomes = keeper.fallback()
            assert [(outcome.step.do, outcome.ok) for outcome in outcomes] == [
                ("signal", True),
                ("start", True),
                ("tree.remove", True),
            ]
            assert gone(*grandchild)()
            assert not ours.exists()
            assert keeper.fallback() == []
        assert keeper.left == []

    asyncio.run(run())


def test_leaving_without_a_keeper_falls_back(tmp_path: Path) -> None:
    ours = tmp_path / "chaos-r1"
    ours.mkdir()

    async def run() -> proc.ProcessRef:
        async with open_keeper(tmp_path / "keeper.jsonl") as keeper:
            await keeper.own(ours)
            # QUIT from the kernel cannot end what is frozen: the fallback must thaw it.
            frozen = await keeper.spawn(Spec("frozen", sleeper().argv, ENV, death_signal="QUIT"))
            proc.send(frozen, signal.SIGSTOP)
            proc.send(keeper.ref, signal.SIGKILL)
            return frozen

    assert gone(asyncio.run(run()))()
    assert not ours.exists()


def test_a_keeper_that_does_not_answer_is_lost_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        async with open_keeper(tmp_path / "keeper.jsonl") as keeper:
            process = await keeper.spawn(sleeper())
            proc.send(keeper.ref, signal.SIGSTOP)
            monkeypatch.setattr("harness.safety.link.CALL_TIMEOUT_S", 0.1)
            with pytest.raises(KeeperLost, match=r"did not stop sleeper within 0\.3 s"):
                await keeper.stop("sleeper", 0.2)
        assert gone(keeper.ref, process)()
        assert keeper.left == []

    asyncio.run(run())
