"""Two ways to hold a process down, and that both end without a trace: cgroups where the machine has them, and a cycler."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from safety_lab import ROOT, SLEEP, eventually, gone, started

from harness.safety import cgroup, cycler, proc, undo
from harness.safety.registry import Registration
from harness.safety.sweep import sweep

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BUSY = (sys.executable, "-S", "-c", "while True: pass")
HERE = cgroup.find()
NEEDS_CGROUPS = pytest.mark.skipif(HERE is None, reason="no writable cpu controller on this machine")
AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root may have a hierarchy at all")


@pytest.fixture
def group() -> Iterator[Path]:
    """A group that is not there yet, and is gone afterwards whatever happened."""
    assert HERE is not None
    path = HERE.root / f"chaos-test{os.getpid()}-x"
    yield path
    undo.run([undo.cgroup_remove(path)])


def mounts(tmp_path: Path, *lines: str) -> Path:
    file = tmp_path / "mounts"
    file.write_text("".join(f"x {line} 0 0\n" for line in lines))
    return file


@AS_ROOT
def test_a_hierarchy_is_one_with_a_cpu_controller_that_we_may_use(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    for folder in (one, two):
        folder.mkdir()
    memory = f"{one} cgroup rw,memory"
    assert cgroup.find(mounts(tmp_path, memory, f"{tmp_path}/absent cgroup rw,cpu")) is None
    assert cgroup.find(mounts(tmp_path, memory, f"{one} cgroup rw,cpu,cpuacct")) == (one, False)
    unified = mounts(tmp_path, memory, f"{two} cgroup2 rw")
    assert cgroup.find(unified) is None
    (two / "cgroup.subtree_control").write_text("memory cpuset\n")
    assert cgroup.find(unified) is None
    (two / "cgroup.subtree_control").write_text("memory cpu\n")
    assert cgroup.find(unified) == (two, True)


def test_nobody_but_root_has_a_hierarchy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert cgroup.find(mounts(tmp_path, f"{tmp_path} cgroup rw,cpu")) is None


@pytest.mark.parametrize("unified", [True, False], ids=["v2", "v1"])
def test_the_limit_is_written_in_the_words_of_the_version(tmp_path: Path, unified: bool) -> None:
    folder = cgroup.limit(cgroup.Hierarchy(tmp_path, unified), "chaos-r-coder-1", 5, [])
    written = {file.name: file.read_text() for file in folder.iterdir()}
    if unified:
        assert written == {"cpu.max": "5000 100000\n"}
    else:
        assert written == {"cpu.cfs_quota_us": "5000\n", "cpu.cfs_period_us": "100000\n"}
    (folder / "cpu.stat").write_text("nr_periods 9\nnr_throttled 4\n")
    assert cgroup.throttled(folder) == (5.0, 4)
    assert cgroup.throttled(tmp_path / "chaos-none") == (0.0, 0)


@pytest.mark.parametrize("name", ["system.slice", "achaos-x", "chaos-link"])
def test_a_group_that_is_not_ours_is_never_touched(tmp_path: Path, name: str) -> None:
    (tmp_path / "other").mkdir()
    path = tmp_path / name
    path.symlink_to(tmp_path / "other") if name == "chaos-link" else path.mkdir()
    (outcome,) = undo.run([undo.cgroup_remove(path)])
    assert not outcome.ok
    assert "not a cgroup of ours" in outcome.said
    assert path.exists()


@NEEDS_CGROUPS
def test_a_group_holds_its_process_back_and_goes_without_it(group: Path) -> None:
    assert HERE is not None
    with started(*BUSY) as (_, process):
        assert cgroup.limit(HERE, group.name, 5, [process.pid, 2**22 + 1]) == group
        assert cgroup.members(group) == [process.pid]
        eventually(lambda: cgroup.throttled(group)[1] > 2, "it was held back")
        assert cgroup.throttled(group)[0] == 5.0
        first, again = undo.run([undo.cgroup_remove(group)] * 2)
        assert (first.ok, first.said) == (True, f"removed cgroup {group}, 1 processes moved out")
        assert (again.ok, again.said) == (True, f"cgroup {group} is gone already")
        assert proc.state(process) == "running"
        assert process.pid in cgroup.members(HERE.root)


@NEEDS_CGROUPS
def test_sweep_removes_the_group_of_a_dead_run(tmp_path: Path, group: Path) -> None:
    assert HERE is not None
    run = group.name.split("-")[1]
    dead = proc.ProcessRef(os.getpid(), proc.ref(os.getpid()).start - 1)
    with started(*BUSY) as (_, process):
        cgroup.limit(HERE, group.name, 5, [process.pid])
        Registration(tmp_path, run, tmp_path, cgroups=[group], harness=dead).update()
        said = sweep(tmp_path, lambda _: None)
        assert said == [
            f"run {run}: removed cgroup {group}, 1 processes moved out",
            f"run {run}: removed its registration",
        ]
        assert not group.exists()
        assert proc.state(process) == "running"


def test_only_a_group_of_the_run_itself_is_registered(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="must start with chaos-r1"):
        Registration(tmp_path, "r1", tmp_path, cgroups=[tmp_path / "chaos-r2-coder-1"]).update()


def cycling(process: proc.ProcessRef, percent: float) -> subprocess.Popen[bytes]:
    return subprocess.Popen(cycler.argv(process, percent), env={"PYTHONPATH": str(ROOT)}, cwd="/")


def test_a_cycler_stops_its_process_in_turns_and_its_undo_leaves_it_running() -> None:
    with started(*SLEEP) as (_, process), started(*SLEEP) as (_, other):
        child = cycling(process, 50)
        try:
            eventually(lambda: proc.state(process) == "frozen", "stopped")
            eventually(lambda: proc.state(process) == "running", "continued")
            eventually(lambda: proc.state(process) == "frozen", "stopped again")
            assert cycler.percent_of(process) == 50
            assert cycler.percent_of(other) == 100
            (elsewhere,) = undo.run([undo.cycle_stop(other)])
            assert elsewhere.said == f"0 cyclers of {other} stopped, it runs"
            assert child.poll() is None
            first, again = undo.run([undo.cycle_stop(process)] * 2)
            assert (first.ok, first.said) == (True, f"1 cyclers of {process} stopped, it runs")
            assert (again.ok, again.said) == (True, f"0 cyclers of {process} stopped, it runs")
            assert child.wait(5) == -signal.SIGKILL
            assert proc.state(process) == "running"
        finally:
            child.kill()
            child.wait()


@pytest.mark.parametrize("how", ["asked", "gone"])
def test_a_cycler_ends_when_it_is_asked_to_or_has_nobody_left(how: str) -> None:
    with started(*SLEEP) as (_, process):
        child = cycling(process, 20)
        try:
            eventually(lambda: proc.state(process) == "frozen", "stopped")
            if how == "asked":
                child.terminate()
            else:
                proc.send(process, signal.SIGKILL)
                eventually(gone(process), "it died")
            assert child.wait(5) == 0
            assert proc.state(process) == ("running" if how == "asked" else "gone")
        finally:
            child.kill()
            child.wait()
