"""local: the whole stack as Linux processes. No root, no Docker; loopback only.

3 replicas -> Toxiproxy (one listener each) -> PostgreSQL, and Caddy in front. Everything is a child of the run's
keeper and lives in one private folder, both written down before they exist.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import anyio.to_thread

from harness import tools
from harness.clients.http import http_client
from harness.local import postgres, services
from harness.local.hosted import HostedStack, open_site
from harness.local.ports import free_ports
from harness.local.process import LocalProcess
from harness.safety import proc
from harness.stack import Look

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from harness.stack import Context, StackRequest

NAME = "local"


def prepare(cache: Path, say: Callable[[str], None]) -> None:
    """Find or build every program a stack needs; raises NotReady naming the one that is missing and the fix."""
    tools.postgres_bin()
    tools.caddy()
    tools.locust()
    tools.toxiproxy(cache, say)
    postgres.as_server([])


class LocalStack(HostedStack[LocalProcess]):
    """See `harness.stack.Stack`."""

    name = NAME

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

    def record(self) -> None:
        """Record the processes."""
        for target in self.targets:
            self.site.record(target.name, target.process)


@asynccontextmanager
async def open(request: StackRequest, context: Context) -> AsyncIterator[LocalStack]:  # noqa: A001 - the backends' verb
    """Open a stack of processes; leaving takes everything down and leaves nothing behind."""
    async with open_site(context) as site, http_client() as client:
        opened = LocalStack(site, request, client)
        await opened.start()
        yield opened
