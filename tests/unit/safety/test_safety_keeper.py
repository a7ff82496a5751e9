from __future__ import annotations

import asyncio
import os
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from safety_lab import DEAF, ENV, SLEEP, entries, eventually, gone, sleeper

from harness.errors import HarnessError, KeeperLost, StackError
from harness.safety import proc, undo
from harness.safety.link import Keeper, Stopped, open_keeper
from harness.safety.spec import Spec

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "keeper.jsonl"


def with_keeper(log: Path, body: Callable[[Keeper], Awaitable[Any]]) -> Any:
    """Run a body with a keeper on an event loop of its own; no task may outlive it."""

    async def run() -> Any:
        async with open_keeper(log) as keeper:
            given = await body(keeper)
        assert asyncio.all_tasks() == {asyncio.current_task()}
        assert keeper.left == []
        assert proc.state(keeper.ref) == "gone"
        return given

    return asyncio.run(run())


async def until(check: Callable[[], Any], what: str) -> Any:
    return await asyncio.to_thread(eventually, check, what)


RESERVED = 0b11 << 31
"""Signals 32 and 33: the C library keeps them for its threads and lets nobody change or restore them."""


def test_a_child_gets_what_its_spec_says(log: Path, tmp_path: Path) -> None:
    shows = Spec(
        "shows",
        ("/bin/sh", "-c", "cat; echo $A $HOME; pwd; grep -E 'Sig(Blk|Ign)' /proc/self/status >&2; ps -o ni= $$ >&2"),
        {"PATH": ENV["PATH"], "A": "s3cret"},
        cwd=tmp_path,
        stdin=0,
        stdout=1,
        stderr=tmp_path / "err.txt",
        nice=7,
    )

    out = tmp_path / "out.txt"
    (tmp_path / "in.txt").write_text("hello\n")

    async def body(keeper: Keeper) -> None:
        ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        keeper.on_exit = lambda name, process, code: ended.set_result((name, process, code))
        process = await keeper.spawn(shows, [stdin.fileno(), stdout.fileno()])
        assert await asyncio.wait_for(ended, 5) == ("shows", process, 0)
        assert out.read_text() == f"hello\ns3cret\n{tmp_path}\n"
        blocked, ignored, nice = (tmp_path / "err.txt").read_text().split("\n")[:3]
        assert int(blocked.split()[1], 16) == 0
        assert int(ignored.split()[1], 16) & ~RESERVED == 0
        assert nice.strip() == "7"

    with (tmp_path / "in.txt").open() as stdin, out.open("w") as stdout:
        with_keeper(log, body)
    assert "s3cret" not in log.read_text()


def test_children_lead_their_own_sessions_under_the_keeper(log: Path) -> None:
    async def body(keeper: Keeper) -> None:
        process = await keeper.spawn(sleeper())
        assert os.getsid(process.pid) == process.pid
        assert proc.children(keeper.ref.pid) == [process]
        assert os.getsid(keeper.ref.pid) == keeper.ref.pid
        for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            proc.send(keeper.ref, signum)
        await keeper.ping()

    with_keeper(log, body)


def test_what_cannot_start_is_named_and_the_keeper_goes_on(log: Path, tmp_path: Path) -> None:
    async def body(keeper: Keeper) -> None:
        with pytest.raises(StackError, match=r"spawn nope: .*No such file.*'/no/such/program'"):
            await keeper.spawn(Spec("nope", ("/no/such/program",)))
        with pytest.raises(StackError, match="No such file"):
            await keeper.spawn(Spec("nowhere", SLEEP, cwd=tmp_path / "missing"))
        with pytest.raises(StackError, match="argv is empty"):
            await keeper.spawn(Spec("empty", ()))
        with pytest.raises(StackError, match="no process is named 'nope'; known are none"):
            await keeper.start("nope")
        with pytest.raises(HarnessError, match="exceeds"):
            await keeper.spawn(Spec("huge", SLEEP, {"A": "x" * (1 << 21)}))
        with pytest.raises(StackError, match="must start with chaos-"):
            await keeper.own(tmp_path)
        with pytest.raises(StackError, match="'f9' is not armed"):
            await keeper.undo("f9")
        await keeper.spawn(sleeper())
        with pytest.raises(StackError, match="sleeper is running already"):
            await keeper.spawn(sleeper())

    with_keeper(log, body)


def test_restart_uses_the_stored_spec_and_appends(log: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.txt"
    spec = Spec("echo", ("/bin/sh", "-c", "cat; echo up; exec sleep 300"), ENV, stdin=0, stdout=out)

    async def body(keeper: Keeper) -> None:
        first = await keeper.spawn(spec, [nothing.fileno()])
        await until(lambda: out.exists() and out.read_text() == "up\n", "first start")
        assert await keeper.start("echo") == first
        proc.send(first, signal.SIGKILL)
        await until(gone(first), "killed")
        second = await keeper.start("echo")
        assert second != first
        assert keeper.processes == {"echo": second}
        await until(lambda: out.read_text() == "up\nup\n", "second start")

    with Path("/dev/null").open() as nothing:
        with_keeper(log, body)


def test_stop_escalates_wakes_the_frozen_and_repeats(log: Path, tmp_path: Path) -> None:
    said = tmp_path / "said.txt"

    async def body(keeper: Keeper) -> None:
        await keeper.spawn(Spec("deaf", DEAF, ENV, stdout=said))
        frozen = await keeper.spawn(sleeper("frozen"))
        proc.send(frozen, signal.SIGSTOP)
        await until(lambda: proc.state(frozen) == "frozen" and said.exists() and said.read_text(), "ready")
        began = time.monotonic()
        stops = [keeper.stop("deaf", 0.4), keeper.stop("deaf", 9), keeper.stop("frozen", 5)]
        both = asyncio.gather(*stops)
        await keeper.ping()
        assert time.monotonic() - began < 0.4, "the loop must not wait for a stop"
        assert await both == [Stopped(-9, forced=True), Stopped(-9, forced=True), Stopped(-15, forced=False)]
        assert await keeper.stop("frozen") == Stopped(-15, forced=False)

    with_keeper(log, body)


def test_a_start_ends_the_one_that_was_asked_to_leave_and_no_other(log: Path, tmp_path: Path) -> None:
    said = tmp_path / "said.txt"
    ends: list[tuple[proc.ProcessRef, int]] = []

    async def body(keeper: Keeper) -> None:
        keeper.on_exit = lambda _, process, code: ends.append((process, code))
        first = await keeper.spawn(Spec("deaf", DEAF, ENV, stdout=said))
        await until(lambda: said.exists() and said.read_text(), "deaf")
        proc.send(first, signal.SIGTERM)
        assert not await keeper.was_asked("deaf"), "only what the keeper itself sent"
        assert await keeper.start("deaf") == first
        await keeper.ask_to_leave("deaf")
        assert await keeper.was_asked("deaf")
        assert proc.state(first) == "running"
        await keeper.arm("f1", time.monotonic() + 60, [undo.start("deaf")])
        (outcome,) = await keeper.undo("f1")
        assert outcome.ok
        assert outcome.said.startswith(f"killed {first}, which was asked to leave and had not; started deaf again as ")
        second = keeper.processes["deaf"]
        assert second != first
        assert ends == [(first, -9)]
        assert not await keeper.was_asked("deaf"), "another life, and nobody asked it"
        assert await keeper.start("deaf") == second

    with_keeper(log, body)
    assert [entry["process"] for entry in entries(log) if entry["ev"] == "asked"] == [str(p) for p, _ in ends]


def test_an_end_is_told_before_a_later_answer(log: Path) -> None:
    """What a fault proves by the kernel is in the run's log before its undo, however quick that follows."""
    ends: list[str] = []

    async def body(keeper: Keeper) -> None:
        keeper.on_exit = lambda name, *_: ends.append(name)
        for number in range(20):
            process = await keeper.spawn(sleeper(f"s{number}"))
            proc.send(process, signal.SIGKILL)
            while proc.state(process) != "gone":
                pass  # no turn of the loop: nothing can have been heard yet
            assert len(ends) == number
            await keeper.ping()
            assert len(ends) == number + 1

    with_keeper(log, body)


def test_who_is_gone_cannot_be_asked(log: Path) -> None:
    async def body(keeper: Keeper) -> None:
        first = await keeper.spawn(sleeper())
        await keeper.ask_to_leave("sleeper")
        await until(gone(first), "obeyed")
        second = await keeper.start("sleeper")
        proc.send(second, signal.SIGKILL)
        await until(gone(second), "killed")
        await keeper.ask_to_leave("sleeper")
        assert not await keeper.was_asked("sleeper")
        with pytest.raises(StackError, match="no process is named 'nobody'"):
            await keeper.ask_to_leave("nobody")

    with_keeper(log, body)


def test_orphans_are_collected_however_deep_they_hid(log: Path) -> None:
    hides = "(setsid sh -c '(setsid sleep 300 &) ; exec sleep 300' &) ; exec sleep 300"

    async def body(keeper: Keeper) -> list[proc.ProcessRef]:
        await keeper.spawn(Spec("hides", ("/bin/sh", "-c", hides), ENV))
        return await until(lambda: len(found := proc.children(keeper.ref.pid)) >= 3 and found, "two orphans")

    assert all(proc.state(process) == "gone" for process in with_keeper(log, body))


def test_undo_runs_the_last_deed_first_and_disarms_only_when_all_is_well(log: Path) -> None:
    async def body(keeper: Keeper) -> None:
        process = await keeper.spawn(sleeper())
        proc.send(process, signal.SIGSTOP)
        far = time.monotonic() + 60
        await keeper.arm("f1", far, [undo.signal(process, "CONT"), undo.Step("mystery"), undo.start("sleeper")])
        outcomes = await keeper.undo("f1")
        assert [(outcome.step.do, outcome.ok) for outcome in outcomes] == [
            ("start", True),
            ("mystery", False),
            ("signal", True),
        ]
        assert proc.state(process) == "running"
        assert len(await keeper.undo("f1")) == 3, "still armed"
        await keeper.disarm("f1")
        await keeper.disarm("f1")
        proc.send(process, signal.SIGKILL)
        await until(gone(process), "killed")
        await keeper.arm("f2", far, [undo.start("sleeper")])
        assert [outcome.ok for outcome in await keeper.undo("f2")] == [True]
        assert keeper.processes["sleeper"] != process
        with pytest.raises(StackError, match="not armed"):
            await keeper.undo("f2")

    with_keeper(log, body)


def test_down_stops_in_reverse_order_and_removes_what_is_owned(log: Path, tmp_path: Path) -> None:
    ours = tmp_path / "chaos-r1"
    ours.mkdir()

    async def body(keeper: Keeper) -> None:
        for name in ("a", "b", "c"):
            await keeper.spawn(sleeper(name))
        await keeper.own(ours)
        assert await keeper.down() == []
        await asyncio.wait_for(keeper.lost.wait(), 5)
        with pytest.raises(KeeperLost, match="ping"):
            await keeper.ping()
        assert keeper.fallback() == []

    with_keeper(log, body)
    assert not ours.exists()
    assert [entry["name"] for entry in entries(log) if entry["ev"] == "stopped"] == ["c", "b", "a"]


def test_an_error_of_the_body_is_not_hidden(log: Path) -> None:
    async def body(_: Keeper) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        with_keeper(log, body)


def test_a_log_that_cannot_be_written_stops_nothing() -> None:
    async def body(keeper: Keeper) -> None:
        await keeper.spawn(sleeper())

    with_keeper(Path("/dev/full"), body)
    with_keeper(Path("/no/such/folder/keeper.jsonl"), body)
