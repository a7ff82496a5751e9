"""local: the whole stack as Linux processes. No root, no Docker; loopback only.

3 replicas -> Toxiproxy (one listener each) -> PostgreSQL, and Caddy in front. Everything is a child of the run's
keeper and lives in one private folder, both written down before they exist.
"""

from __future__ import annotations

import json
import os
import sys
import time
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread

from harness import events as ev
from harness import tools
from harness.clients import postgres as sql
from harness.clients.http import HttpApi, http_client
from harness.discover import data_root
from harness.errors import HarnessError, RunDirError
from harness.load import LoadPlan
from harness.local import postgres, services
from harness.local.meter import start_meter
from harness.local.ports import free_ports
from harness.local.process import LocalProcess, Site
from harness.safety import proc
from harness.safety.link import open_keeper
from harness.safety.registry import Registration
from harness.safety.spec import Spec
from harness.stack import Look

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    import httpx

    from harness.safety.undo import Outcome, Step
    from harness.stack import Address, Context, LoadRequest, MeterPlan, StackRequest

NAME = "local"
USERS_PER_PROCESS = 100
KEEPER_LOG = "keeper.jsonl"


def prepare(cache: Path, say: Callable[[str], None]) -> None:
    """Find or build every program a stack needs; raises NotReady naming the one that is missing and the fix."""
    tools.postgres_bin()
    tools.caddy()
    tools.locust()
    tools.toxiproxy(cache, say)
    postgres.as_server([])


class LocalStack:
    """See `harness.stack.Stack`."""

    name = NAME

    def __init__(self, site: Site, request: StackRequest, client: httpx.AsyncClient) -> None:
        self.site = site
        self.request = request
        self.time_scale = request.time_scale
        self.targets: Sequence[LocalProcess] = ()
        self.version = ""
        self._client = client
        self._dsn = ""

    async def start(self) -> None:
        """Bring everything up; raises NotReady or StackError naming the part."""
        request, site = self.request, self.site
        count = request.replicas
        ports = free_ports(3 + 2 * count, request.ports)
        pg_port, toxi_port, lb_port = ports[:3]
        listeners, api_ports = ports[3 : 3 + count], ports[3 + count :]
        binary = await anyio.to_thread.run_sync(tools.toxiproxy, site.context.cache, site.context.say)
        database, self._dsn = await postgres.start(site, pg_port, request.start_timeout_s)
        proxy = await services.toxiproxy(site, binary, toxi_port, listeners, database.address)
        services.launcher(site, request)
        access = f"http://{services.HOST}:{lb_port}"
        replicas = []
        for number, (listener, port) in enumerate(zip(listeners, api_ports, strict=True), 1):
            dsn = self._dsn.replace(f":{pg_port}/", f":{listener}/") + "?sslmode=disable"
            replicas.append(await services.replica(site, request, number, port, dsn, access, proxy.address))
        for target in replicas:
            await services.answers(target, request.start_timeout_s)
        front = await services.balancer(site, lb_port, replicas, request.balancer)
        self.targets = (*replicas, database, proxy, front)
        self.version = await services.version(replicas[0])

    def topology(self) -> list[dict[str, Any]]:
        """Targets with their addresses."""
        rows = [(t.name, t.role, t.address) for t in self.targets]
        return [{"name": name, "role": role, "host": at.host, "port": at.port} for name, role, at in rows]

    def target(self, name: str) -> LocalProcess:
        """Target by name."""
        return next(t for t in self.targets if t.name == name)

    def address(self, name: str) -> Address:
        """Address of a target."""
        return self.target(name).address

    def api(self, name: str) -> HttpApi:
        """API at a target."""
        return HttpApi(self.address(name), self._client)

    def meter(self, plan: MeterPlan) -> Any:
        """The meter process."""
        return start_meter(self.site, plan, self.address)

    @asynccontextmanager
    async def load(self, request: LoadRequest) -> AsyncIterator[list[str]]:
        """Locust as single child processes; the tokens are in a private file, never on a command line."""
        tokens = self.site.temp / "load-tokens"
        tokens.touch(mode=0o600)
        tokens.write_text("\n".join(request.tokens) + "\n")
        plan = LoadPlan(
            file=data_root() / "loadtests" / f"{request.name}.py",
            host=self.target("balancer").address.url,
            users=request.users,
            spawn_rate=request.users,
            processes=max(1, request.users // USERS_PER_PROCESS),
            tokens_file=tokens,
            records_dir=self.site.context.directory,
            seed=request.seed,
        )
        names = []
        for child in plan.children():
            await self.site.spawn(Spec(child.name, child.argv, child.env | {"HOME": str(self.site.temp)}))
            names.append(child.name)
        try:
            yield [f"{name}.bin" for name in names]
        finally:
            with anyio.CancelScope(shield=True):
                for name in names:
                    await self.site.keeper.stop(name, timeout_s=6)

    async def arm(self, fault: str, revert_by_ns: int, steps: Sequence[Step]) -> None:
        """Hand the undo to the keeper."""
        await self.site.keeper.arm(fault, revert_by_ns / 1e9, steps)

    async def undo(self, fault: str) -> list[Outcome]:
        """Let the keeper run it; a process it started again is a new resource of ours."""
        before = dict(self.site.keeper.processes)
        outcomes = await self.site.keeper.undo(fault)
        for name, process in self.site.keeper.processes.items():
            if before.get(name) != process:
                self.site.record(name, process)
        return outcomes

    async def sql(self, query: str, *args: Any) -> list[tuple[Any, ...]] | None:
        """Ask PostgreSQL itself, past Toxiproxy."""
        return await sql.query(self._dsn, query, *args)

    async def ready(self, name: str) -> None:
        """Wait until a replica answers again."""
        await services.answers(self.target(name), self.request.start_timeout_s)

    async def look(self) -> Look:
        """What kernel, keeper and Toxiproxy say; of limits, what a fault would have made."""
        ours = {t.name: self.site.keeper.processes[t.name] for t in self.targets}
        states = {name: proc.state(process) for name, process in ours.items()}
        held = [f"the undo of {fault} is still armed" for fault in self.site.keeper.armed]
        helpers = {name: process for name, process in self.site.keeper.processes.items() if name not in ours}
        held += [f"{name} still runs" for name, process in helpers.items() if proc.state(process) != "gone"]
        held += [f"the cgroup {path} is still there" for path in self.site.registration.cgroups if path.exists()]
        held += await services.toxics(self.targets)
        return Look({name: str(process) for name, process in ours.items()}, states, held)

    async def turn(self, context: Context) -> None:
        """Let the keeper, the logs and the registration follow the next run; its processes are recorded in its events."""
        await self.site.keeper.turn(context.directory / KEEPER_LOG)
        await anyio.to_thread.run_sync(self.site.logs.turn, context.directory, [t.name for t in self.targets])
        self.site.context = context
        self.site.registration.run_dir = context.directory
        context.emit(ev.ResourceCreated(what="folder", name="temp", ref=str(self.site.temp)))
        for target in self.targets:
            self.site.record(target.name, target.process)


@asynccontextmanager
async def open(request: StackRequest, context: Context) -> AsyncIterator[LocalStack]:  # noqa: A001 - the backends' verb
    """Open a stack of processes; leaving takes everything down and leaves nothing behind."""
    temp = _temp_base() / f"chaos-{context.run}"
    registration = Registration(context.state, context.run, context.directory, temp_dirs=[temp])
    registration.update()
    left: list[str] = []
    try:
        async with AsyncExitStack() as stack:
            keeper = await stack.enter_async_context(open_keeper(context.directory / KEEPER_LOG))
            stack.callback(lambda: left.extend(keeper.left))
            registration.keeper = keeper.ref
            registration.update()
            await keeper.own(temp)
            temp.mkdir(mode=0o711)
            context.emit(ev.ResourceCreated(what="folder", name="temp", ref=str(temp)))
            site = Site(context, keeper, registration, temp)
            # Of whichever run the stack serves by then.
            keeper.on_exit = lambda name, ref, code: _tell(
                site.context, ev.ProcessExited(name=name, pid=ref.pid, code=code)
            )
            keeper.on_revert = lambda fault, why, outcomes: _tell(
                site.context, _reverted(site.context, fault, why, outcomes)
            )
            client = await stack.enter_async_context(http_client())
            opened = LocalStack(site, request, client)
            await opened.start()
            yield opened
    finally:
        left += keeper.left if "keeper" in locals() else []
        if "site" in locals():
            site.logs.close()
        _finish(registration, sorted(set(left)))


def _tell(context: Context, event: ev.Event) -> None:
    """Write what the keeper reports; the run itself will meet a disk that is full."""
    with suppress(RunDirError):
        context.emit(event)


def _reverted(context: Context, fault: str, why: str, outcomes: Sequence[Outcome]) -> ev.FaultUndone:
    context.say(f"the keeper undid {fault} and ends the run: {why}")
    now = time.monotonic_ns()  # it is known now; the keeper's own log has the moment
    rows = [{"do": o.step.do, "ok": o.ok, "said": o.said} for o in outcomes]
    return ev.FaultUndone(fault=fault, before_ns=now, after_ns=now, outcomes=rows, by="keeper")


def _finish(registration: Registration, left: list[str]) -> None:
    try:
        (registration.run_dir / "teardown.json").write_text(json.dumps({"left": left}) + "\n")
    except OSError as error:
        if left:
            print(f"teardown.json could not be written: {error.strerror}; left: {left}", file=sys.stderr)  # noqa: T201
    if not left:
        registration.close()


def _temp_base() -> Path:
    for base in (os.environ.get("TMPDIR"), "/tmp"):  # noqa: S108 - the folder inside is private and registered
        if base and Path(base).is_dir() and os.access(base, os.W_OK):
            return Path(base).resolve()
    raise HarnessError("no writable temporary folder: set TMPDIR")
