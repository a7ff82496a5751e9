"""A suite on the local stack, by the command line: its second run goes on with the first one's stack, as good as new.

And should the harness be killed in that second run, nothing of either is left.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import crash_lab as lab
import pytest

from harness.evidence import conclude
from harness.verdict import Status

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.e2e

TRIES = 3
START_S = 0.7
"""A start of PostgreSQL, Toxiproxy, replicas and balancer has never been that quick; a stack that turns takes some ms."""

PAIRS = [
    word
    for key, value in (lab.TINY | {"recovery": "20s", "writers": "6"}).items()
    for word in ("--set", f"{key}={value}")
]


def suite(folder: Path) -> tuple[int, list[Path], str]:
    """Play two scenarios; return the exit code, the run directories in order, and everything said.

    The one that kills comes last: a build that dies with its replica may end the stack, as it should.
    """
    argv = ["run", "-s", lab.FREEZE, "-s", lab.KILL, "--time-scale", "0.1", "--runs-dir", str(folder / "runs")]
    env = os.environ | {"CHAOS_STATE_DIR": str(folder / "state")}
    done = subprocess.run(
        [sys.executable, "-m", "harness.cli", *argv, *PAIRS], env=env, cwd=folder, capture_output=True, text=True, timeout=300,
        check=False,
    )  # fmt: skip
    return done.returncode, directories(folder / "runs"), done.stdout + done.stderr


def directories(runs: Path) -> list[Path]:
    return sorted(path for path in runs.iterdir() if path.is_dir() and not path.is_symlink())


def events(directory: Path, kind: str) -> list[dict[str, Any]]:
    lines = (directory / "events.jsonl").read_text().split("\n")[:-1]
    return [event for event in map(json.loads, lines) if event["kind"] == kind]


def test_the_second_run_is_spared_the_start_and_judged_as_ever(tmp_path: Path) -> None:
    """Only what the machine itself spoils (a starved meter, a build that took too long) is played again."""
    for number in range(TRIES):
        folder = tmp_path / str(number)
        folder.mkdir()
        code, (first, second), said = suite(folder)
        assert not list((folder / "state" / "runs").glob("*")), "no registration is left"
        spoilt = "could not be deleted: its " in said or any(
            gate.meter and not gate.ok for run in (first, second) for gate in conclude(run)[0].gates
        )
        if "stack reused" in said and not spoilt:
            break
    assert code == 0, said
    assert "crash-kill    reused  all" in said
    assert "the stack is kept" in said
    headers = [events(run, "run.header")[0] for run in (first, second)]
    assert [header["stack_use"]["reused"] for header in headers] == [False, True]
    assert headers[1]["stack_use"]["before"] == [headers[0]["run"]]
    verdict, report = conclude(second)
    assert verdict.status is Status.PASS
    assert f"[stack reused: started by run {headers[0]['run']}" in report
    took = [events(run, "stack.ready")[0]["took_s"] for run in (first, second)]
    assert took[0] > START_S > took[1], took
    last = {e["name"]: e["ref"] for e in events(first, "resource.created")}
    begun = {e["name"]: e["ref"] for e in reversed(events(second, "resource.created"))}
    same = {"postgres", "toxiproxy", "balancer", "coder-1", "coder-2", "temp"}
    assert {name: last[name] for name in same} == {name: begun[name] for name in same}
    assert last["meter"] != begun["meter"], "a meter of its own"
    left = [json.loads((run / "teardown.json").read_text()) for run in (first, second)]
    assert left == [{"left": [], "stack": "kept for the next run"}, {"left": []}]
    for run in (first, second):
        logs = {path.name for path in (run / "logs").iterdir()}
        assert logs >= {"coder-1.log", "postgres.log", "balancer.log", "meter.log", "load-0.log"}
    for name in ("coder-1", "coder-2"):
        again = name in events(second, "fault.prepared")[0]["targets"]
        mine, later = ((run / "logs" / f"{name}.log").read_text() for run in (first, second))
        assert mine.count("started HTTP listener") == 1
        assert later.count("started HTTP listener") == again, "only who was killed in the second run started in it"
        assert ("shutting down" in mine, "shutting down" in later) == (False, True)


@pytest.mark.parametrize("kind", ["fault.proven", "run.header"], ids=["in its second run", "between two runs"])
def test_killed_it_leaves_nothing(tmp_path: Path, kind: str) -> None:
    lab.warm_cache()
    (tmp_path / "tmp").mkdir()
    ports = range(19200, 19240)
    env = {key: value for key, value in os.environ.items() if not key.startswith(("CHAOS_", "CODER_", "STANDIN_"))}
    env |= {
        "TMPDIR": str(tmp_path / "tmp"),
        "CHAOS_STATE_DIR": str(tmp_path / "state"),
        "CHAOS_PORTS": f"{ports.start}-{ports.stop - 1}",
    }
    orders = {"steady": 20, "acts": [{"kind": kind, "count": 2, "do": ["kill"]}]}
    argv = ["run", "-s", lab.FREEZE, "-s", lab.KILL, "--time-scale", "0.1", "--runs-dir", str(tmp_path / "runs")]
    driver = [sys.executable, str(lab.HERE / "crash_driver.py"), json.dumps(orders)]
    machine = lab.Machine(tmp_path, ports)
    with (tmp_path / "err").open("wb") as err:
        popen = subprocess.Popen(
            [*driver, *argv, *PAIRS], env=env, cwd=tmp_path, stdout=err, stderr=err, start_new_session=True
        )
        with machine.watching(popen.pid):
            try:
                assert popen.wait(timeout=150) == -signal.SIGKILL, (tmp_path / "err").read_text()
            finally:
                popen.kill()
            ends = time.monotonic() + lab.GONE_S
            while (left := machine.left()) and time.monotonic() < ends:
                time.sleep(0.05)
    machine.clear()
    said = (tmp_path / "err").read_text()
    assert "the stack is kept" in said, said
    assert left == []
    first, second = directories(tmp_path / "runs")
    served = second if kind == "fault.proven" else first
    keeper = [json.loads(line) for line in (served / "keeper.jsonl").read_text().splitlines()]
    assert any(entry.get("why") == "the harness is gone" for entry in keeper), "in the log of the run it served last"
    assert [entry["fault"] for entry in keeper if entry["ev"] == "undone"] == ["f1"]
    assert conclude(first)[0].status is not Status.FAIL
    verdict = conclude(second)[0]
    assert (verdict.status, "it ended early" in verdict.why) == (Status.INCONCLUSIVE, True)
    swept = lab.cli("sweep", env=env)
    assert (swept.returncode, "removed its registration" in swept.stdout) == (0, True)
    assert not list((tmp_path / "state" / "runs").glob("*"))
