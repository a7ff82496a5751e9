"""Start and end of a stack, the command line, judging a million records, decision to proven effect."""

from __future__ import annotations

import asyncio
import importlib
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

from bench.million import enlarge
from bench.show import show, timed
from harness.config import load
from harness.stack import Context, StackRequest

ROUNDS = 3


def help_text() -> None:
    command = [str(Path(sys.executable).parent / "coder-chaos"), "--help"]
    values = [timed(lambda: subprocess.run(command, check=True, capture_output=True)) for _ in range(10)]
    show("coder-chaos --help", values, "s", "<= 0.2 s")


def stack_up_and_down(temp: Path) -> None:
    from harness.backends import local

    settings = load({}, {})
    ups, downs = [], []
    for number in range(ROUNDS + 1):
        directory = temp / f"stack-{number}"
        directory.mkdir()
        context = Context(
            f"bench{number}", directory, lambda _: None, lambda _: None, settings.cache_dir, temp / "state"
        )

        async def once(context: Context = context) -> tuple[float, float]:
            began = time.perf_counter()
            async with local.open(StackRequest(), context):
                up = time.perf_counter() - began
                began = time.perf_counter()
            return up, time.perf_counter() - began

        up, down = asyncio.run(once())
        if number:  # the first one fills the caches
            ups.append(up)
            downs.append(down)
    show("stack up, warm (3 replicas)", ups, "s", "<= 6 s")
    show("stack down", downs, "s", "<= 3 s")


def one_run(temp: Path) -> Path:
    """A real run; its record files are what the next benchmark enlarges."""
    command = [str(Path(sys.executable).parent / "coder-chaos"), "run", "-s", "replica-kill", "--seed", "1"]
    options = [
        "--runs-dir",
        str(temp / "runs"),
        "--time-scale",
        "0.25",
        "--set",
        "baseline=3s",
        "--set",
        f"state_dir={temp / 'state'}",
    ]
    subprocess.run(command + options, check=False, capture_output=True)
    return (temp / "runs" / "latest").resolve()


def decision_to_proof(directory: Path) -> None:
    at = {}
    for line in (directory / "events.jsonl").read_text().splitlines():
        event = json.loads(line)
        at.setdefault(event["kind"], event["t_ns"])
    show(
        "kill: decision to effect proven on the path",
        [(at["fault.proven"] - at["fault.prepared"]) / 1e9],
        "s",
        "measured",
    )


def a_modelled_run(temp: Path) -> None:
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "contract"))
    play = importlib.import_module("fake_runs").play
    values = [timed(lambda number=number: play(temp / f"fake-{number}", "replica-kill")) for number in range(ROUNDS)]
    show("replica-kill on the fake stack, virtual time", values, "s", "about 1 s")


def judge_and_report(directory: Path, temp: Path) -> None:
    big = enlarge(directory, temp / "million", records=1_000_000)
    code = "import sys; from pathlib import Path; from harness.evidence import conclude; print(conclude(Path(sys.argv[1]))[0].status)"
    command = [sys.executable, "-c", code, str(big)]
    values = [timed(lambda: subprocess.run(command, check=True, capture_output=True)) for _ in range(ROUNDS)]
    show("judge and report of 1,000,000 records", values, "s", "<= 10 s")
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    show("  peak memory of the largest child", [peak], "MiB", "<= 500 MiB")


def run(temp: Path) -> None:
    """Measure all of it."""
    help_text()
    stack_up_and_down(temp)
    a_modelled_run(temp)
    directory = one_run(temp)
    decision_to_proof(directory)
    judge_and_report(directory, temp)
