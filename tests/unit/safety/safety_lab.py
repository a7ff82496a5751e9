"""Shared by the tests of this folder: waiting, small programs, and a harness process that can be killed."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.safety import proc
from harness.safety.spec import Spec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).resolve().parents[3]
SLEEP = ("/bin/sleep", "300")
ENV = {"PATH": "/usr/bin:/bin"}
# Says when it is deaf, as a shell needs a moment to become so.
DEAF = ("/bin/sh", "-c", "trap '' TERM; echo deaf; while :; do sleep 0.05; done")

HARNESS = """
import asyncio, json, sys
sys.path.insert(0, {root!r})
from pathlib import Path
from harness.safety.link import open_keeper
from harness.safety.spec import Spec
from harness.safety.undo import Step

async def main():
    plan = json.loads(sys.argv[1])
    async with open_keeper(Path(plan["log"])) as keeper:
        for path in plan["owned"]:
            await keeper.own(Path(path))
        for spec in plan["specs"]:
            await keeper.spawn(Spec.from_json(spec))
        for fault, armed in plan["armed"].items():
            await keeper.arm(fault, armed["revert_by_s"], [Step.from_json(step) for step in armed["steps"]])
        keeper.on_revert = lambda *what: print(json.dumps({{"reverted": what[0], "why": what[1]}}), flush=True)
        processes = {{name: str(process) for name, process in keeper.processes.items()}}
        print(json.dumps({{"keeper": str(keeper.ref), "processes": processes}}), flush=True)
        await keeper.lost.wait()
        print(json.dumps({{"lost": True}}), flush=True)

asyncio.run(main())
"""


def eventually(check: Callable[[], Any], what: str, within_s: float = 5.0) -> Any:
    """Wait until `check` gives something true, and return it."""
    ends = time.monotonic() + within_s
    while True:
        seen = check()
        if seen:
            return seen
        assert time.monotonic() < ends, f"not within {within_s} s: {what}; last seen {seen!r}"
        time.sleep(0.005)


def gone(*processes: proc.ProcessRef) -> Callable[[], bool]:
    return lambda: all(proc.state(process) == "gone" for process in processes)


def entries(log: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.read_text().splitlines()]


def sleeper(name: str = "sleeper") -> Spec:
    return Spec(name, SLEEP, ENV)


@contextlib.contextmanager
def started(*argv: str) -> Iterator[tuple[subprocess.Popen[bytes], proc.ProcessRef]]:
    """Run a program as our own child, killed at the end."""
    with subprocess.Popen(argv) as popen:
        try:
            yield popen, proc.ref(popen.pid)
        finally:
            popen.kill()


@dataclass
class HarnessProcess:
    """A harness of its own, with a keeper, that waits to be hurt."""

    popen: subprocess.Popen[str]
    keeper: proc.ProcessRef
    processes: dict[str, proc.ProcessRef]

    def line(self) -> dict[str, Any]:
        assert self.popen.stdout is not None
        return json.loads(self.popen.stdout.readline())


@dataclass
class Plan:
    """What a harness process sets up before it waits."""

    log: Path
    owned: list[str] = field(default_factory=list)
    specs: list[Spec] = field(default_factory=list)
    armed: dict[str, Any] = field(default_factory=dict)


@contextlib.contextmanager
def harness_process(plan: Plan) -> Iterator[HarnessProcess]:
    facts = {**plan.__dict__, "log": str(plan.log), "specs": [spec.to_json() for spec in plan.specs]}
    argv = [sys.executable, "-c", HARNESS.format(root=str(ROOT)), json.dumps(facts)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as popen:
        try:
            assert popen.stdout is not None
            first = json.loads(popen.stdout.readline())
            processes = {name: proc.ProcessRef.parse(text) for name, text in first["processes"].items()}
            yield HarnessProcess(popen, proc.ProcessRef.parse(first["keeper"]), processes)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.kill(popen.pid, signal.SIGCONT)
            popen.kill()
