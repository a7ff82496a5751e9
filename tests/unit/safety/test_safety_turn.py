"""A stack that serves one run after the other: its keeper's log and its processes' logs follow."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest
from safety_lab import entries, sleeper

from harness.errors import StackError
from harness.local.logs import Logs
from harness.safety import proc, undo
from harness.safety.link import open_keeper

if TYPE_CHECKING:
    from pathlib import Path

COUNTS = "import os, sys\nfor n in range(200000): os.write(1, b'%d\\n' % n)\n"


def test_the_keepers_words_go_to_the_next_run_and_its_processes_stay(tmp_path: Path) -> None:
    first, second = tmp_path / "first.jsonl", tmp_path / "second.jsonl"

    async def main() -> None:
        async with open_keeper(first) as keeper:
            process = await keeper.spawn(sleeper())
            await keeper.arm("f1", time.monotonic() + 600, [undo.signal(process, "CONT")])
            assert keeper.armed == ["f1"]
            with pytest.raises(StackError, match="f1 is armed: its run is not over"):
                await keeper.turn(second)
            await keeper.undo("f1")
            assert keeper.armed == []
            with pytest.raises(StackError, match="No such file or directory"):
                await keeper.turn(tmp_path / "nowhere" / "keeper.jsonl")
            await keeper.turn(second)
            assert keeper.processes == {"sleeper": process}
            assert proc.state(process) == "running"
            await keeper.stop("sleeper")

    asyncio.run(main())
    old, new = entries(first), entries(second)
    assert (old[-1]["ev"], old[-1]["to"]) == ("turned", str(second))
    assert new[0]["ev"] == "turned"
    assert set(new[0]["alive"]) == {"sleeper"}
    assert [e["ev"] for e in new if e["ev"] == "exited"] == ["exited"]
    assert new[-1]["ev"] == "down"


def test_a_dead_harness_ends_a_stack_that_has_turned(tmp_path: Path) -> None:
    """The keeper is the same, and so is its end of the channel."""
    code = (
        "import asyncio, os, sys\n"
        "from pathlib import Path\n"
        "from harness.safety.link import open_keeper\n"
        "from harness.safety.spec import Spec\n"
        "async def main():\n"
        "    base = Path(sys.argv[1])\n"
        "    async with open_keeper(base / 'first.jsonl') as keeper:\n"
        "        process = await keeper.spawn(Spec('sleeper', ('/bin/sleep', '600')))\n"
        "        await keeper.turn(base / 'second.jsonl')\n"
        "        print(process, flush=True)\n"
        "        os.kill(os.getpid(), 9)\n"
        "asyncio.run(main())\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == -9, done.stderr
    process, ends = proc.ProcessRef.parse(done.stdout.strip()), time.monotonic() + 10
    while proc.state(process) != "gone" and time.monotonic() < ends:
        time.sleep(0.02)
    assert proc.state(process) == "gone"
    while entries(tmp_path / "second.jsonl")[-1]["ev"] != "down" and time.monotonic() < ends:
        time.sleep(0.02)
    assert "the harness is gone" in entries(tmp_path / "second.jsonl")[-1]["why"]


def test_no_line_of_a_log_is_lost_or_twice_while_it_is_written(tmp_path: Path) -> None:
    runs = [tmp_path / f"run-{n}" for n in range(4)]
    for run in runs:
        run.mkdir()
    logs = Logs(tmp_path / "logs", runs[0])
    with logs.path("counter").open("ab") as out:
        popen = subprocess.Popen([sys.executable, "-c", COUNTS], stdout=out)
    path = runs[0] / "logs" / "counter.log"
    while not path.stat().st_size:
        time.sleep(0.001)
    for number, run in enumerate(runs[1:], 1):
        before = (runs[number - 1] / "logs" / "counter.log").stat().st_size
        while popen.poll() is None and (runs[number - 1] / "logs" / "counter.log").stat().st_size < before + 1000:
            time.sleep(0.001)
        logs.turn(run, ["counter"])
        assert logs.path("counter").resolve() == run / "logs" / "counter.log"
    assert popen.wait(60) == 0
    whole = (runs[-1] / "logs" / "counter.log").read_text().splitlines()
    assert [line for line in whole if line.isdecimal()] == [str(n) for n in range(200000)], (
        "until the end it has it all"
    )
    logs.close()
    parts = [(run / "logs" / "counter.log").read_text().splitlines() for run in runs]
    assert [line for part in parts for line in part if line.isdecimal()] == [str(n) for n in range(200000)]
    assert [part[0].startswith("---") for part in parts] == [False, True, True, True]
    assert all(run.name in part[0] for run, part in zip(runs[1:], parts[1:], strict=True))
    assert sorted(p.name for p in (runs[-1] / "logs").iterdir()) == ["counter.log"]


def test_what_starts_later_writes_to_the_run_of_then(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    logs = Logs(tmp_path / "logs", first)
    path = logs.path("late")
    path.write_text("in the first\n")
    logs.turn(second, [])
    path.write_text("in the second\n")
    assert (first / "logs" / "late.log").read_text() == "in the first\n"
    assert (second / "logs" / "late.log").read_text() == "in the second\n"
    with pytest.raises(StackError, match="the logs of the stack cannot go on in"):
        logs.turn(first, ["unknown"])
