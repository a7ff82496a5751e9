"""fake: the whole stack in memory, in whatever time the event loop keeps, the same for the same run id.

For the harness's own tests: with `harness.virtualtime.VirtualLoop` a whole run takes about a second. Its numbers say
nothing about anything but the harness.
"""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import anyio

from harness import events as ev
from harness.errors import StackError
from harness.fake.api import VERSION, FakeApi
from harness.fake.life import FakeProcess, run_steps
from harness.fake.load import FILE, FakeLoad
from harness.fake.meter import FakeMeter
from harness.fake.site import Site
from harness.stack import Look
from harness.tidy import LEFT
from harness.truth import SCHEMA_SQL, SQL

if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence

    from harness.safety.undo import Outcome, Step
    from harness.stack import Address, Context, LoadRequest, MeterPlan, StackRequest

NAME = "fake"


class FakeStack:
    """See `harness.stack.Stack`."""

    name = NAME
    version = VERSION

    def __init__(self, site: Site, request: StackRequest, context: Context) -> None:
        self.site = site
        self.context = context
        self.time_scale = request.time_scale
        self.hostnames: Mapping[str, str] = {}
        self.targets: Sequence[FakeProcess] = list(site.processes.values())
        self._timeout_s = request.start_timeout_s
        self._armed: dict[str, tuple[list[Step], asyncio.TimerHandle]] = {}

    def topology(self) -> list[dict[str, Any]]:
        """Targets with their addresses."""
        return [{"name": t.name, "role": t.role, "host": t.address.host, "port": t.address.port} for t in self.targets]

    def address(self, name: str) -> Address:
        """Address of a target. Nothing listens there."""
        return self.site.processes[name].address

    def upstream(self, name: str) -> int:
        """Port of a target."""
        return self.address(name).port

    def api(self, name: str) -> FakeApi:
        """API at a target."""
        return FakeApi(self.site, name)

    @asynccontextmanager
    async def meter(self, plan: MeterPlan) -> AsyncIterator[FakeMeter]:
        """Start the meter."""
        meter = FakeMeter(self.site, plan)
        meter.start()
        try:
            yield meter
        finally:
            meter.stop()

    @asynccontextmanager
    async def load(self, request: LoadRequest) -> AsyncIterator[list[str]]:
        """Start the load."""
        load = FakeLoad(self.site, request)
        load.start()
        try:
            yield [FILE]
        finally:
            load.stop()

    async def arm(self, fault: str, revert_by_ns: int, steps: Sequence[Step]) -> None:
        """Keep the undo, and run it when its time is up."""

        def revert() -> None:
            self._armed.pop(fault)
            run_steps(list(steps), self.site.processes)

        # The next run on this stack names its faults alike: the timer must end with the fault.
        self._armed[fault] = list(steps), self.site.loop.call_at(revert_by_ns / 1e9, revert)

    async def undo(self, fault: str) -> list[Outcome]:
        """Run the armed undo and disarm it; raises StackError when nothing is armed."""
        if fault not in self._armed:
            raise StackError(f"fault {fault!r} is not armed; armed are {', '.join(sorted(self._armed)) or 'none'}")
        steps, timer = self._armed.pop(fault)
        timer.cancel()
        return run_steps(steps, self.site.processes)

    async def sql(self, query: str, *args: Any) -> list[tuple[Any, ...]] | None:
        """Answer the queries of the harness: the truth, what a run left, the version of the schema."""
        known: dict[str, Callable[..., list[tuple[Any, ...]]]] = {
            SQL: self.site.store.builds,
            LEFT: self.site.store.left,
            SCHEMA_SQL: lambda: sorted(tuple(row) for row in self.site.store.schema.rows),
        }
        if query not in known:
            raise StackError(f"the fake's database knows the harness's own queries only, not {query[:60]!r}")
        return known[query](*args)

    async def ready(self, name: str) -> None:
        """Wait until a target can be used as before."""
        process, replica = self.site.processes[name], self.site.replicas.get(name)
        with anyio.move_on_after(self._timeout_s):
            while process.now != "running" or (replica is not None and not replica.now.pool):  # noqa: ASYNC110 - a model
                await anyio.sleep(0.02)
            return
        raise StackError(f"{name}: not ready within {self._timeout_s:g} s; it is {process.now}")

    async def look(self) -> Look:
        """Every modelled process, delays, limits, and what is armed."""
        held = [f"{t.name}: the delay {name} is on" for t in self.targets for name in t.delays_ms]
        held += [f"{t.name}: held to {t.cpu} % of a processor" for t in self.targets if t.cpu < 100]
        held += [f"the undo of {fault} is still armed" for fault in self._armed]
        states = {t.name: t.now for t in self.targets}
        return Look({t.name: str(t.process) for t in self.targets}, states, held)

    async def turn(self, context: Context) -> None:
        """Serve another run."""
        self.context, self.site.directory = context, context.directory
        for process in self.targets:
            context.emit(ev.ResourceCreated(what="model", name=process.name, ref=str(process.process)))


@asynccontextmanager
async def open(request: StackRequest, context: Context) -> AsyncIterator[FakeStack]:  # noqa: A001 - the backends' verb
    """Open a stack in memory."""
    site = Site(request, context.directory, context.run)
    stack = FakeStack(site, request, context)
    for process in stack.targets:
        context.emit(ev.ResourceCreated(what="model", name=process.name, ref=str(process.process)))
        process.happened.append(_reporter(process, stack))
    for name in site.replicas:
        await stack.ready(name)
    await anyio.sleep(
        request.balancer.interval_s + 0.5
    )  # one round of the balancer's health checks, so that every replica is in
    try:
        yield stack
    finally:
        for process in stack.targets:
            process.happened.clear()
            process.life.die()
        (stack.context.directory / "teardown.json").write_text(json.dumps({"left": []}) + "\n")


def _reporter(process: FakeProcess, stack: FakeStack) -> Callable[[str], None]:
    def happened(what: str) -> None:
        if what == "died":
            stack.context.emit(ev.ProcessExited(name=process.name, pid=process.process.pid, code=-9))
        elif what == "started":
            stack.context.emit(ev.ResourceCreated(what="model", name=process.name, ref=str(process.process)))

    return happened
