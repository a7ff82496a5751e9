"""compose: the stack of compose/ha.yaml as containers of a Docker engine on this machine.

The project, its networks and its volume are written down before they exist, and the keeper removes them by their label
whatever becomes of us.
"""

from __future__ import annotations

import secrets
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Final

import anyio
import anyio.to_thread

from harness import events as ev
from harness.clients import docker as engine
from harness.clients.coder import routing_to, serves, version_of
from harness.clients.http import http_client
from harness.containers import members, plugin, rendering
from harness.containers.deployment import Deployment
from harness.containers.target import Container, Replica
from harness.containers.watch import following, told
from harness.errors import StackError
from harness.local.hosted import HostedStack, open_site, tell
from harness.local.ports import free_ports
from harness.safety import proc, undo
from harness.stack import Look

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
    from pathlib import Path

    import httpx

    from harness.local.process import Site
    from harness.stack import Context, StackRequest

NAME = "compose"
_ROUTING_S: Final = 20.0
_STATES: Final = {(True, False): "running", (True, True): "frozen"}


def prepare(cache: Path, say: Callable[[str], None]) -> None:  # noqa: ARG001 - every backend has the same
    """Find the engine and the plugin; raises NotReady naming the one that is missing and the fix."""
    engine.connect(engine.socket_path()).close()
    plugin.needed(cache)


class ComposeStack(HostedStack[Container]):
    """See `harness.stack.Stack`."""

    name = NAME
    _docker: engine.Docker
    _deployment: Deployment | None = None
    """The run's own, None on a project that is not."""

    def __init__(self, site: Site, request: StackRequest, client: httpx.AsyncClient) -> None:
        super().__init__(site, request, client)
        self._known_as: dict[str, int] = {}
        self._foreign: dict[str, list[undo.Step]] = {}

    async def start(self, exits: AsyncExitStack) -> None:
        """Bring everything up; what `exits` holds takes it down. Raises NotReady or StackError naming the part."""
        site = self.site
        self._docker = await anyio.to_thread.run_sync(engine.connect, engine.socket_path())
        exits.callback(self._docker.close)
        # Left in this order: nobody hears of the ends of what is taken down, and its last words are written.
        follows = await exits.enter_async_context(AsyncExitStack())
        project = self.request.project or await self._deploy(exits)
        await self._find(project)
        await follows.enter_async_context(following(self._docker, site, self.targets))
        await exits.enter_async_context(
            told(self._docker, project, self.targets, lambda event: tell(self.site.context, event))
        )
        for target in self.targets:
            if target.role == "coder":
                await self.ready(target.name)
        routed = routing_to(self.api("balancer"), set(self.upstream_ports.values()))
        await self._until("balancer", routed, _ROUTING_S, "routing to every replica")
        first = self.targets[0].name
        self.version = await version_of(self.api(first), first)

    async def _deploy(self, exits: AsyncExitStack) -> str:
        """Bring up a project of the run's own and give its name."""
        site = self.site
        compose = await anyio.to_thread.run_sync(plugin.needed, site.context.cache)
        self._deployment = Deployment(site, self.request, self._docker, compose)
        inside = rendering.inside(self.request)
        ports = free_ports(len(inside), self.request.ports)
        password = secrets.token_urlsafe(24)
        await exits.enter_async_context(self._deployment.opened(ports, password))
        port = dict(zip(inside, ports, strict=True))["database"]
        self._dsn = f"postgres://coder:{password}@127.0.0.1:{port}/coder"
        return self._deployment.name

    def upstream(self, name: str) -> int:
        """Port by which records know a target: that of its address, or a number where replicas share that."""
        return self._known_as.get(name, self.address(name).port)

    async def arm(self, fault: str, revert_by_ns: int, steps: Sequence[undo.Step]) -> None:
        """Hand the undo to the keeper, and write it down where what it heals outlives the run."""
        if self.request.project:
            self._foreign[fault] = list(steps)
            self._register()
        await super().arm(fault, revert_by_ns, steps)

    async def ready(self, name: str) -> None:
        """Wait until a replica answers a question that needs the database; raise StackError with its last log lines."""
        ready = partial(serves, self.api(name))
        await self._until(name, ready, self.request.start_timeout_s, "answering /api/v2/users/first")

    async def look(self) -> Look:
        """What engine, keeper and Toxiproxy say; of limits, what a fault would have made."""
        processes, states = {}, {}
        held = [f"the undo of {fault} is still armed" for fault in self.site.keeper.armed]
        held += [f"{name} still runs" for name, ref in self.site.keeper.processes.items() if proc.state(ref) != "gone"]
        for target in self.targets:
            found = await target.look()
            state = found["State"]
            processes[target.name] = str(target.life)
            states[target.name] = _STATES.get((state["Running"], state["Paused"]), "gone")
            if isinstance(target, Replica):
                held += [f"{target.name}: the toxic {name} is on" for name in await target.toxics()]
                nano = found["HostConfig"]["NanoCpus"] or max(found["HostConfig"]["CpuQuota"], 0)
                if nano != target.nano:
                    held.append(f"{target.name}: its processor time is limited")
        return Look(processes, states, held)

    async def undo(self, fault: str) -> list[undo.Outcome]:
        """Let the keeper run it; a container it started again has another life."""
        outcomes = await super().undo(fault)
        if fault in self._foreign and all(outcome.ok for outcome in outcomes):
            del self._foreign[fault]
            self._register()
        await self._lives_now()
        return outcomes

    async def _find(self, project: str) -> None:
        """Take in what the labels say there is."""
        row = members.read(project, await self._docker.containers(project))
        if self.request.project:
            members.check(project, row, self.request.replicas, self.request.allow)
        proxy = next(member.address for member in row if member.role == "proxy")
        self.targets = [
            Replica(m, self._docker, self.site, proxy=proxy)
            if m.role == "coder"
            else Container(m, self._docker, self.site)
            for m in row
        ]
        self.hostnames = {m.hostname: m.name for m in row if m.role == "coder" and m.hostname != m.name}
        if len({m.address.port for m in row}) < len(row):
            self._known_as = {m.name: number for number, m in enumerate(row, 1)}
        self.upstream_ports = {m.upstream: self.upstream(m.name) for m in row if m.upstream}
        for target in self.targets:
            found = await target.look()
            if isinstance(target, Replica):
                target.nano = found["HostConfig"]["NanoCpus"]
            self._record(target)

    def _register(self) -> None:
        self.site.registration.foreign = [step for steps in self._foreign.values() for step in steps]
        self.site.registration.update()

    async def _lives_now(self) -> None:
        for target in self.targets:
            before = target.life
            await target.look()
            if target.life != before:
                self._record(target)

    def record(self) -> None:
        """Record the project, where it is ours, and the containers."""
        if self._deployment is not None:
            self._deployment.record()
        for target in self.targets:
            self._record(target)

    def _record(self, target: Container) -> None:
        self.site.context.emit(ev.ResourceCreated(what="container", name=target.name, ref=str(target.life)))

    async def _until(self, name: str, ready: Callable[[], Awaitable[bool]], timeout_s: float, what: str) -> None:
        with anyio.move_on_after(timeout_s):
            while True:
                if await ready():
                    return
                if not (await self.target(name).look())["State"]["Running"]:
                    raise StackError(f"{name} died while starting. {await self._tail(name)}")
                await anyio.sleep(0.05)
        raise StackError(f"{name}: {what} not within {timeout_s:g} s. {await self._tail(name)}")

    async def _tail(self, name: str) -> str:
        await anyio.sleep(0.5)  # the follower writes what came last
        return self.site.tail(name)


@asynccontextmanager
async def open(request: StackRequest, context: Context) -> AsyncIterator[ComposeStack]:  # noqa: A001 - the backends' verb
    """Open a stack of containers; leaving takes everything down and leaves nothing behind."""
    async with open_site(context) as site, http_client() as client, AsyncExitStack() as exits:
        opened = ComposeStack(site, request, client)
        await opened.start(exits)
        yield opened
