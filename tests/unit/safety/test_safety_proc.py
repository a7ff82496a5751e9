from __future__ import annotations

import os
import signal

import pytest
from safety_lab import SLEEP, eventually, started

from harness.safety import proc


def test_a_ref_survives_being_written_and_read() -> None:
    me = proc.ref(os.getpid())
    assert proc.ProcessRef.parse(str(me)) == me


@pytest.mark.parametrize("text", ["", "12", "12@", "@3", "a@b", "12@-3"])
def test_what_is_no_ref_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a process"):
        proc.ProcessRef.parse(text)


def test_state_follows_freeze_thaw_and_death_and_a_zombie_is_gone() -> None:
    with started(*SLEEP) as (popen, process):
        assert proc.state(process) == "running"
        assert proc.send(process, signal.SIGSTOP)
        eventually(lambda: proc.state(process) == "frozen", "frozen")
        assert proc.send(process, signal.SIGCONT)
        eventually(lambda: proc.state(process) == "running", "running")
        assert proc.send(process, signal.SIGKILL)
        eventually(lambda: proc.state(process) == "gone", "a zombie counts as gone")
        assert popen.returncode is None
        assert not proc.send(process, signal.SIGCONT)
        popen.wait()
        assert not proc.send(process, signal.SIGCONT)
        with pytest.raises(ProcessLookupError):
            proc.ref(process.pid)


def test_a_signal_never_reaches_another_process_with_the_same_pid() -> None:
    with started(*SLEEP) as (_, process):
        earlier = proc.ProcessRef(process.pid, process.start - 1)
        assert proc.state(earlier) == "gone"
        assert not proc.send(earlier, signal.SIGKILL)
        assert proc.state(process) == "running"


def test_a_command_name_with_brackets_and_spaces_is_parsed(tmp_path) -> None:
    odd = tmp_path / "a) R (b 1 2"
    odd.symlink_to(SLEEP[0])
    with started(str(odd), "300") as (_, process):
        eventually(lambda: proc.children(os.getpid()), "a child")
        assert proc.state(process) == "running"
        assert process in proc.children(os.getpid())


def test_descendants_and_sessions_reach_grandchildren() -> None:
    with started("/bin/sh", "-c", "sleep 300 & exec setsid sh -c 'sleep 300 & wait'") as (_, process):
        below = eventually(lambda: len(found := proc.descendants(process.pid)) >= 2 and found, "two grandchildren")
        try:
            leader = eventually(lambda: [p for p in (process, *below) if os.getsid(p.pid) == p.pid], "a session")[0]
            members = eventually(lambda: len(found := proc.in_sessions([leader])) >= 2 and found, "its members")
            assert leader in members
            assert not proc.in_sessions([proc.ProcessRef(leader.pid, leader.start - 1)])
        finally:
            for child in proc.descendants(process.pid):
                proc.send(child, signal.SIGKILL)


def test_boot_id_names_this_boot() -> None:
    assert proc.boot_id() == proc.boot_id()
    assert len(proc.boot_id()) == 36
