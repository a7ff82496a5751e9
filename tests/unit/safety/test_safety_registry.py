from __future__ import annotations

import json
import os
import signal
from typing import TYPE_CHECKING

import pytest
from safety_lab import SLEEP, eventually, gone, started

from harness.errors import LockHeld
from harness.safety import proc, undo
from harness.safety.locks import lock
from harness.safety.registry import Registration, load
from harness.safety.sweep import sweep

if TYPE_CHECKING:
    from pathlib import Path

DEAD = proc.ProcessRef(os.getpid(), proc.ref(os.getpid()).start - 1)


def registration(state: Path, run: str, **fields: object) -> Registration:
    made = Registration(state, run, state / "out" / run, **fields)  # type: ignore[arg-type]
    made.update()
    return made


def folder(tmp_path: Path, name: str) -> Path:
    made = tmp_path / name
    (made / "deep").mkdir(parents=True)
    return made


def test_a_registration_survives_being_written_and_read(tmp_path: Path) -> None:
    made = registration(tmp_path, "r1", temp_dirs=[tmp_path / "chaos-r1-pg"])
    made.keeper = proc.ProcessRef(5, 6)
    made.processes["coder-1"] = proc.ProcessRef(7, 8)
    made.foreign.append(undo.toxic_delete("http://127.0.0.1:1", "db", "chaos-r1-t"))
    made.update()
    assert load(made.path) == made
    assert made.live()
    assert [path.name for path in made.path.parent.iterdir()] == ["r1.json"]
    made.close()
    made.close()
    assert not made.path.exists()


def test_a_folder_that_is_not_ours_is_never_registered(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="must start with chaos-r1"):
        registration(tmp_path, "r1", temp_dirs=[tmp_path / "chaos-r2"])


def test_sweep_removes_what_a_dead_run_left_and_says_so(tmp_path: Path) -> None:
    ours = folder(tmp_path, "chaos-dead1")
    heard: list[str] = []
    with started(*SLEEP) as (_, living), started(*SLEEP) as (_, innocent):
        recycled = proc.ProcessRef(innocent.pid, innocent.start - 1)
        proc.send(living, signal.SIGSTOP)
        made = registration(
            tmp_path, "dead1", harness=DEAD, temp_dirs=[ours], processes={"coder-1": living, "coder-2": recycled}
        )
        said = sweep(tmp_path, heard.append)
        eventually(gone(living), "the process")
        assert proc.state(innocent) == "running"
    assert said == heard
    assert said == [
        f"run dead1: killed process coder-1 {living}",
        f"run dead1: removed {ours}",
        "run dead1: removed its registration",
    ]
    assert not ours.exists()
    assert not made.path.exists()
    assert sweep(tmp_path, heard.append) == []


@pytest.mark.parametrize("alive", ["harness", "keeper"])
def test_sweep_leaves_a_live_run_alone(tmp_path: Path, alive: str) -> None:
    ours = folder(tmp_path, "chaos-live1")
    with started(*SLEEP) as (_, living), started(*SLEEP) as (_, child):
        both = {"harness": DEAD, "keeper": DEAD, alive: living}
        made = registration(tmp_path, "live1", temp_dirs=[ours], processes={"coder-1": child}, **both)
        assert sweep(tmp_path, pytest.fail) == []
        assert proc.state(child) == "running"
    assert ours.exists()
    assert made.path.exists()


def test_after_a_reboot_process_numbers_mean_nothing(tmp_path: Path) -> None:
    ours = folder(tmp_path, "chaos-old1")
    with started(*SLEEP) as (_, innocent):
        fields = {"harness": proc.ref(os.getpid()), "processes": {"coder-1": innocent}, "boot_id": "another"}
        registration(tmp_path, "old1", temp_dirs=[ours], **fields)
        said = sweep(tmp_path, lambda _: None)
        assert proc.state(innocent) == "running"
    assert said == [f"run old1: removed {ours}", "run old1: removed its registration"]


def test_a_toxic_that_nobody_answers_for_does_not_keep_the_registration(tmp_path: Path) -> None:
    made = registration(tmp_path, "r1", harness=DEAD, foreign=[undo.toxic_delete("http://127.0.0.1:1", "db", "t")])
    said = sweep(tmp_path, lambda _: None)
    assert "could not do toxic.delete" in said[0]
    assert not made.path.exists()


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"harness": 1}'])
def test_a_broken_registration_is_said_and_left_alone(tmp_path: Path, text: str) -> None:
    runs = tmp_path / "runs"
    runs.mkdir()
    (runs / "bad.json").write_text(text)
    ours = folder(tmp_path, "chaos-dead1")
    registration(tmp_path, "dead1", harness=DEAD, temp_dirs=[ours])
    said = sweep(tmp_path, lambda _: None)
    assert said[0].startswith(f"left alone: {runs / 'bad.json'} is not a registration")
    assert (runs / "bad.json").read_text() == text
    assert not ours.exists()


def test_a_registration_that_names_foreign_folders_is_broken(tmp_path: Path) -> None:
    made = registration(tmp_path, "dead1", harness=DEAD)
    precious = folder(tmp_path, "chaos-precious")
    made.path.write_text(json.dumps({**json.loads(made.path.read_text()), "temp_dirs": [str(precious)]}))
    assert "left alone" in sweep(tmp_path, lambda _: None)[0]
    assert precious.exists()


def test_a_second_run_on_the_same_target_is_told_who_holds_it(tmp_path: Path) -> None:
    with lock(tmp_path, "https://coder.test/a", run="r1", run_dir=tmp_path / "out"):
        with (
            pytest.raises(LockHeld) as held,
            lock(tmp_path, "https://coder.test/a", run="r2", run_dir=tmp_path / "out2"),
        ):
            pass
        with lock(tmp_path, "https://coder.test/b", run="r2", run_dir=tmp_path / "out2"):
            pass
    text = str(held.value)
    assert f"by run r1 (pid {os.getpid()}, run directory {tmp_path / 'out'})" in text
    assert "kill -INT" in text
    with lock(tmp_path, "https://coder.test/a", run="r2", run_dir=tmp_path / "out2"):
        pass


def test_a_holder_that_has_not_signed_yet_is_unknown(tmp_path: Path) -> None:
    with lock(tmp_path, "t", run="r1", run_dir=tmp_path):
        (tmp_path / "locks" / "t.lock").write_text("")
        with pytest.raises(LockHeld, match="by run unknown"), lock(tmp_path, "t", run="r2", run_dir=tmp_path):
            pass
