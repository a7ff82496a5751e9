"""What every stack on this machine shares, whatever its targets are: keeper, private folder, meter, load, undo."""

from __future__ import annotations

import json
import os
import sys
import time
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

import anyio
import anyio.to_thread

from harness import events as ev
from harness.clients import postgres as sql
from harness.clients.http import HttpApi
from harness.discover import data_root
from harness.errors import HarnessError, RunDirError
from harness.load import LoadPlan
from harness.local.meter import start_meter
from harness.local.process import Site
from harness.safety.link import open_keeper
from harness.safety.registry import Registration
from harness.safety.spec import Spec

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    import httpx

    from harness.safety.undo import Outcome, Step
    from harness.stack import Address, Context, LoadRequest, MeterPlan, StackRequest

USERS_PER_PROCESS = 100
KEEPER_LOG = "keeper.jsonl"


class Hosted(Protocol):
    """A target with an address of its own."""

    @property
    def name(self) -> str:
        """Its name in the stack."""

    @property
    def role(self) -> str:
        """What it is for: coder, database, proxy or balancer."""

    @property
    def address(self) -> Address:
        """Where the harness reaches it."""


T = TypeVar("T", bound=Hosted)


class HostedStack(Generic[T]):
    """The part of `harness.stack.Stack` that does not depend on what a target is."""

    name: str
    targets: Sequence[T] = ()
    version = ""
    hostnames: Mapping[str, str] = {}
    upstream_ports: Mapping[str, int] = {}
    """Port a replica is known by, by the `host:port` its balancer knows, where replicas share a port."""

    def __init__(self, site: Site, request: StackRequest, client: httpx.AsyncClient) -> None:
        self.site = site
        self.request = request
        self.time_scale = request.time_scale
        self._client = client
        self._dsn = ""

    def topology(self) -> list[dict[str, Any]]:
        """Targets with their addresses."""
        return [self._row(target) for target in self.targets]

    def _row(self, target: T) -> dict[str, Any]:
        at, known_as = target.address, self.upstream(target.name)
        row = {"name": target.name, "role": target.role, "host": at.host, "port": at.port}
        return row if known_as == at.port else row | {"upstream_port": known_as}

    def target(self, name: str) -> T:
        """Target by name."""
        return next(t for t in self.targets if t.name == name)

    def address(self, name: str) -> Address:
        """Address of a target."""
        return self.target(name).address

    def upstream(self, name: str) -> int:
        """Port by which records know a target."""
        return self.address(name).port

    def api(self, name: str) -> HttpApi:
        """API at a target."""
        return HttpApi(self.address(name), self._client, self.upstream_ports)

    def meter(self, plan: MeterPlan) -> Any:
        """The meter process."""
        return start_meter(self.site, plan, self.address, self.upstream_ports)

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
            upstream_ports=self.upstream_ports,
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

    def record(self) -> None:
        """Write down, in the events of the run that is served now, what the stack is made of."""
        raise NotImplementedError

    async def turn(self, context: Context) -> None:
        """Let the keeper, the logs and the registration follow the next run; what there is, is in its events too."""
        await self.site.keeper.turn(context.directory / KEEPER_LOG)
        await anyio.to_thread.run_sync(self.site.logs.turn, context.directory, [t.name for t in self.targets])
        self.site.context = context
        self.site.registration.run_dir = context.directory
        context.emit(ev.ResourceCreated(what="folder", name="temp", ref=str(self.site.temp)))
        self.record()

    async def sql(self, query: str, *args: Any) -> list[tuple[Any, ...]] | None:
        """Ask PostgreSQL itself, past Toxiproxy; None where nobody told us how."""
        return await sql.query(self._dsn, query, *args) if self._dsn else None


@asynccontextmanager
async def open_site(context: Context) -> AsyncIterator[Site]:
    """Open a keeper and a private folder for a run; leaving takes down whatever the keeper owns and leaves nothing."""
    temp = _temp_base() / f"chaos-{context.run}"
    registration = Registration(context.state, context.run, context.directory, temp_dirs=[temp])
    registration.update()
    left: list[str] = []
    site = keeper = None
    try:
        async with AsyncExitStack() as stack:
            keeper = await stack.enter_async_context(open_keeper(context.directory / KEEPER_LOG))
            registration.keeper = keeper.ref
            registration.update()
            await keeper.own(temp)
            temp.mkdir(mode=0o711)
            context.emit(ev.ResourceCreated(what="folder", name="temp", ref=str(temp)))
            site = opened = Site(context, keeper, registration, temp)
            # Of whichever run the stack serves by then.
            keeper.on_exit = lambda name, ref, code: tell(
                opened.context, ev.ProcessExited(name=name, pid=ref.pid, code=code)
            )
            keeper.on_revert = lambda fault, why, outcomes: tell(
                opened.context, _reverted(opened.context, fault, why, outcomes)
            )
            yield site
    finally:
        left += keeper.left if keeper is not None else []
        if site is not None:
            site.logs.close()
        _finish(registration, sorted(set(left)))


def tell(context: Context, event: ev.Event) -> None:
    """Write what happened by itself; the run will meet a disk that is full by its own writing."""
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
