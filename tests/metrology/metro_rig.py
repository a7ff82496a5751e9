"""Processes of a metrology run: the simulator, the real meter, the open-loop load, and loops that keep the cores busy.

What is read back goes through `RunView`, the judge's own way to a run directory.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from time import monotonic_ns
from typing import TYPE_CHECKING, Any

from harness import events as ev
from harness.eventlog import EventLog
from harness.load import LoadPlan
from harness.records import LOAD
from harness.timeline import RunView

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HERE = Path(__file__).resolve().parent
REPO = HERE.parents[1]
MS = 1_000_000
SECOND = 1_000_000_000
PATIENCE_S = 30


class Child:
    """A process that speaks JSON lines: closing its input ends it."""

    def __init__(self, command: list[str], first: dict[str, Any]) -> None:
        self.process = subprocess.Popen(command, cwd=REPO, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.tell(first)

    def tell(self, row: dict[str, Any]) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(row).encode() + b"\n")
        self.process.stdin.flush()

    def hear(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, f"{self.process.args} ended with {self.process.wait()}"
        return json.loads(line)

    def stop(self) -> dict[str, Any]:
        """End its input, expect exit 0; returns the last line it said."""
        out, _ = self.process.communicate(timeout=PATIENCE_S)
        assert self.process.returncode == 0
        return json.loads(out.splitlines()[-1])

    def abolish(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        with contextlib.suppress(ValueError):  # already communicated
            self.process.communicate()


@contextlib.contextmanager
def simulator(ports: list[dict[str, Any]]) -> Iterator[tuple[Child, list[int]]]:
    """A running fault simulator and its ports."""
    child = Child([sys.executable, str(HERE / "faultsim.py")], {"ports": ports})
    try:
        yield child, child.hear()["ports"]
    finally:
        child.abolish()


def lane(lane_id: int, port: int, mode: str = "fresh", rate_hz: float = 100, **more: Any) -> dict[str, Any]:
    row = {"id": lane_id, "target": f"port-{port}", "host": "127.0.0.1", "port": port, "mode": mode, "path": "/planted"}
    return row | {"rate_hz": rate_hz, "expect_body": "good answer"} | more


@contextlib.contextmanager
def meter(folder: Path, lanes: list[dict[str, Any]], deadline_ms: float, **more: Any) -> Iterator[Child]:
    """A meter that measures from the moment this is entered. `folder` must be new; it becomes a run directory."""
    folder.mkdir(parents=True)
    plan = {"v": 1, "dir": str(folder), "deadline_ms": deadline_ms, "lanes": lanes, "priority": -10}
    with EventLog(folder, monotonic_ns) as log:
        log.emit(_header())
        known = [{"id": r["id"], "target": r["target"], "role": "planted", "kind": r["mode"]} for r in lanes]
        rates = [{"rate_hz": r["rate_hz"]} for r in lanes]
        rows = [{**a, **b} for a, b in zip(known, rates, strict=True)]
        log.emit(ev.MeterStarted(lanes=rows, watchers=[], deadline_ms=int(deadline_ms)))
        child = Child([sys.executable, "-m", "harness.probes.meter"], plan | more)
        try:
            assert child.hear()["ready"]
            yield child
        finally:
            child.abolish()


def _header() -> ev.Header:
    words = {"run": "metrology", "scenario": "planted", "promise": "", "stack": "planted", "boot_id": ""}
    return ev.Header(**words, seed=0, settings={}, objectives=[], versions={}, wall_ns=0, command=[])


@contextlib.contextmanager
def arrivals(folder: Path, port: int, rate: int) -> Iterator[Path]:
    """Our open-loop Locust users at `rate` arrivals per second; gives their records file. Stops as a run does, by SIGTERM.

    In real time where we may, as the meter is: what is measured is how it counts, not how long it waits for a core.
    """
    folder.mkdir(parents=True)
    (folder / "tokens").write_text("metrology\n")
    plan = LoadPlan(
        file=REPO / "loadtests" / "arrivals.py",
        host=f"http://127.0.0.1:{port}",
        users=rate,
        spawn_rate=rate,
        processes=1,
        tokens_file=folder / "tokens",
        records_dir=folder,
        seed=1,
    )
    [load] = plan.children()
    env = load.env | {"PYTHONPATH": str(REPO)}
    child = subprocess.Popen(load.argv, env=env, cwd=load.cwd, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    with contextlib.suppress(PermissionError):
        os.sched_setscheduler(child.pid, os.SCHED_RR, os.sched_param(1))
    try:
        until(lambda: load.records.is_file() and load.records.stat().st_size >= rate * LOAD.size)
        yield load.records
        child.terminate()
        assert child.wait(PATIENCE_S) == 0
    finally:
        child.kill()
        child.wait()


def until(condition: Callable[[], object]) -> None:
    """Poll; fails after `PATIENCE_S`."""
    give_up = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < give_up, "not reached in time"
        time.sleep(0.02)


def view(folder: Path) -> RunView:
    """The folder as a judge sees it."""
    return RunView(folder)


@contextlib.contextmanager
def busy(cores: int) -> Iterator[None]:
    """Keep so many cores busy at normal priority."""
    loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(cores)]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


def sleep_until(moment: int) -> None:
    """Until a CLOCK_MONOTONIC moment in ns."""
    time.sleep(max(0, moment - monotonic_ns()) / SECOND)
