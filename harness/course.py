"""The course of one run: open the stack, bootstrap, load and probes, warm-up, the scenario's body, the truth."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Any

import anyio

from harness import bootstrap, history, membership, truth, watching
from harness import events as ev
from harness.decider import Decider
from harness.errors import HarnessError
from harness.folds import Latch
from harness.ledger import HISTORY
from harness.ledger import history as read_history
from harness.live import HEAL_S, LiveRun, RunOver
from harness.load import SIZES, users_for
from harness.observer import Observer
from harness.plan import longest_fault_s
from harness.records import LOAD, Outcome
from harness.stack import Context, LoadRequest, MeterPlan, NoAnswer, StackRequest
from harness.tidy import tidy

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from contextlib import AsyncExitStack
    from pathlib import Path

    from harness.api import Scenario
    from harness.config import Settings
    from harness.eventlog import EventLog
    from harness.keep import Keep
    from harness.stack import Look, Open, Stack
    from harness.timings import Env

_STEADY_SLOTS = 60
_REAPED_S = 420.0
"""Server seconds. A hung build is ended 5 minutes after its last sign, looked for every minute (coderd/jobreaper)."""
_STEADY_LOAD = 0.7


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
    keep: Keep | None = None
    """In a suite: who has the stack before this run, or after it."""
    stack_use: dict[str, Any] | None = None
    """As in the header."""


def asked_of(settings: Settings, server_env: Mapping[str, str]) -> StackRequest:
    """Give what a run with these settings asks of its backend: all that the start of a stack depends on."""
    return StackRequest(
        replicas=settings.replicas,
        time_scale=settings.time_scale,
        balancer=settings.env.balancer,
        coder=str(settings.coder.absolute()) if settings.coder else None,  # it starts in a folder of its own
        project=settings.project,
        allow=settings.allow,
        offline=settings.offline,
        server_env=server_env,
        ports=settings.ports,
    )


class Asked(HarnessError):  # noqa: N818 - it ends a run early; it is no error
    """Somebody asked for the end of the run."""


class Course:
    """The parts of one run while it lasts: made, gone through once, sealed."""

    def __init__(
        self,
        request: Request,
        env: Env,
        plan: list[dict[str, Any]],
        log: EventLog,
        now_ns: Callable[[], int],
        *,
        asked: anyio.Event,
    ) -> None:
        self.request, self.env, self.plan, self.log, self.now_ns = request, env, plan, log, now_ns
        self._asked = asked
        self.asked = asked_of(request.settings, request.server_env)
        self.stack: Stack | None = None
        self.look: Look
        """Of the stack, before this run made anything."""
        self.world: bootstrap.World
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
        began = self.now_ns()
        self.stack, owner = await self._stack(stack_, context)
        stack, took = self.stack, (self.now_ns() - began) / 1e9
        if request.keep is not None:
            self.look = await stack.look()
        self.emit(
            ev.StackReady(
                targets=stack.topology(), time_scale=stack.time_scale, version=stack.version, took_s=round(took, 3)
            )
        )
        request.say(f"stack up in {took:.1f} s: {stack.version}")
        if settings.project:
            owner = await bootstrap.owner_of(stack.api("balancer"), settings.session_token)
            stack_.push_async_callback(self._tidied, stack, owner)
        users = users_for(settings.size)
        self.world = world = await bootstrap.bootstrap(
            stack.api("balancer"),
            request.run,
            users,
            settings.writers + watching.QUIET,
            owner,
            licence="" if owner or settings.license_file is None else settings.license_file.read_text(),
        )
        lacks = await bootstrap.lacks_high_availability(stack.api("balancer"), world.admin)
        if lacks:
            self.emit(ev.Note(text=f"replicas do not mesh: {lacks}"))
            request.say(f"replicas do not mesh, and no scenario can show that they do: {lacks}")
        self.emit(ev.Bootstrapped(users=users, workspaces=world.workspaces))
        watched = watching.sessions(settings, world.workspaces, world.admin)
        plan = MeterPlan(watching.lanes(stack, world.admin), watched, seed=request.seed)
        await self._measured(stack, world, plan)

    async def _tidied(self, stack: Stack, owner: bootstrap.Owner) -> None:
        """Remove what the run made in a deployment that is not ours; a build whose provisioner died is waited for."""
        left = ""
        with anyio.CancelScope(shield=True), anyio.move_on_after(_REAPED_S * stack.time_scale):
            while True:
                try:
                    self.request.say(await tidy(stack, owner.token, owner, self.request.run))
                except (HarnessError, NoAnswer) as error:
                    if not left:
                        self.request.say(f"not all can be removed yet: {error}")
                    left = str(error)
                    await anyio.sleep(1.0)
                else:
                    return
        self.request.say(f"left in the deployment, with {self.request.run} in its name: {left}")

    async def _stack(self, exits: AsyncExitStack, context: Context) -> tuple[Stack, bootstrap.Owner | None]:
        """Give the stack of the run before, with the first user that it has by now, or a fresh one."""
        request, use = self.request, self.request.stack_use
        if request.keep is not None and use is not None and use["reused"]:
            count = len(use["before"])
            request.say(
                f"stack reused: {use['started_by']} started it, {count} {'runs' if count > 1 else 'run'} before"
            )
            return await request.keep.lend(exits, context)
        if use is not None:
            request.say(f"fresh stack: {use['why']}")
        request.say(f"starting {request.settings.replicas} replicas, PostgreSQL, Toxiproxy and the balancer")
        return await exits.enter_async_context(request.open(self.asked, context)), None

    async def _measured(self, stack: Stack, world: bootstrap.World, meter_plan: MeterPlan) -> None:
        """Load, probes, writers and the body; they end in the opposite order of their start."""
        request, settings = self.request, self.request.settings
        observer = Observer(request.directory, self.now_ns)
        planned = [step for step in self.plan if step["do"] == "fault"]
        decider = Decider(stack.targets, Random(request.seed), settings.limits, planned, outage=request.scenario.outage)
        live = LiveRun(
            stack=stack,
            observer=observer,
            decider=decider,
            lanes=meter_plan.lanes,
            settings=settings,
            scenario=request.scenario,
            env=self.env,
            held_s=longest_fault_s(self.plan, settings.prove + HEAL_S),
            token=world.admin,
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
                        tasks.start_soon(self._until_asked)
                        tasks.start_soon(observer.run, meter)
                        for writer in _writers(request, stack, world, file):
                            tasks.start_soon(writer.run)
                        tasks.start_soon(self._membership, stack, world.admin, live)
                        await self._warm_up(
                            observer, live, len(meter_plan.watchers), [request.directory / name for name in files]
                        )
                        await self._schema(stack, "baseline")
                        await request.scenario.body(live)
                        self._check_decisions(decider)
                        tasks.cancel_scope.cancel()
                except BaseExceptionGroup as group:
                    error = _first(group)
                    if isinstance(error, RunOver):  # replicas that never came back may have left the reason there
                        with suppress(HarnessError):
                            await self._schema(stack, "end")
                    raise error from group
                self.emit(ev.Phase(name="verify"))
                await self._truth(stack, world, live)
        finally:
            file.close()

    async def _until_asked(self) -> None:
        """End the run once somebody asks for it."""
        await self._asked.wait()
        raise Asked

    async def _membership(self, stack: Stack, token: str, live: LiveRun) -> None:
        coders = [t.name for t in stack.targets if t.role == "coder"]

        def healthy() -> str:
            return next((name for name in coders if name not in live.decider.down), coders[0])

        planned = {name for step in self.plan if step["do"] == "fault" for name in step["targets"]}
        live_first = [name for name in coders if name not in planned]
        ask = (lambda: live_first[0]) if live_first else healthy
        await membership.watch(stack, token, ask, self.emit, self.now_ns)

    async def _warm_up(self, observer: Observer, live: LiveRun, sessions: int, load: Sequence[Path]) -> None:
        self.emit(ev.Phase(name="warmup"))
        good = frozenset({int(Outcome.OK)})
        since = self.now_ns()
        latches = [Latch(lane.id, good, _STEADY_SLOTS, since) for lane in live.front]
        seen = "nothing yet"
        with anyio.move_on_after(self.request.settings.warmup):
            for latch in latches:
                await observer.wait(latch, self.request.settings.warmup)
                seen = f"lane {latch.lane}: {latch.seen}"
            # An open socket is enough to begin: whether a snapshot follows is for an objective to judge.
            while observer.live.get("open", 0) < sessions:
                seen = f"{observer.live.get('open', 0)} of {sessions} sessions are connected"
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
        planned = sum(step["do"] == "fault" for step in self.plan)
        if decider.count != planned:
            raise HarnessError(
                f"the run made {decider.count} faults, the plan said {planned}: a scenario must decide twice the same"
            )

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
        await self._schema(stack, "end")

    async def _schema(self, stack: Stack, when: str) -> None:
        schema = await truth.schema(stack, when)
        if schema is not None:
            self.emit(schema)


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
        for i, workspace in enumerate(world.workspaces[: -watching.QUIET])
    ]


def _marks(load: Sequence[Path]) -> int:
    return sum(path.stat().st_size // LOAD.size for path in load if path.is_file())


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
