"""Toxiproxy, the replicas and the balancer as processes of a local stack."""

from __future__ import annotations

import shlex
import sys
from functools import partial
from typing import TYPE_CHECKING

import anyio

from harness import tools
from harness.clients.coder import routing_to, serves, version_of
from harness.clients.http import HttpApi, http_client
from harness.clients.toxiproxy import Toxiproxy
from harness.discover import data_root
from harness.local.process import LocalProcess, Site, accepts, clean_env
from harness.local.replica import LocalReplica
from harness.safety.spec import Spec
from harness.stack import Address, StackRequest

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from harness.timings import Balancer

HOST = "127.0.0.1"


async def toxiproxy(site: Site, binary: Path, port: int, listeners: Sequence[int], upstream: Address) -> LocalProcess:
    """Start Toxiproxy with one listener per replica, so that one replica alone can lose the database."""
    address = Address(HOST, port)
    argv = (str(binary), "-host", HOST, "-port", str(port))
    await site.spawn(Spec("toxiproxy", argv, clean_env({"LOG_LEVEL": "warn"})))
    await site.until("toxiproxy", lambda: accepts(address), 10, "listening")
    client = Toxiproxy(address)
    for number, listener in enumerate(listeners, 1):
        await client.create(f"coder-{number}", Address(HOST, listener), upstream)
    return LocalProcess("toxiproxy", "proxy", address, site)


def launcher(site: Site, request: StackRequest) -> Path:
    """The `coder` command of this run, in a bin folder of its own and never on the user's PATH."""
    folder = site.temp / "bin"
    folder.mkdir(exist_ok=True)
    path = folder / "coder"
    if request.coder:
        path.write_text(f'#!/bin/sh\nexec {shlex.quote(request.coder)} "$@"\n')
    else:
        code = f"import sys; sys.path.insert(0, {str(data_root() / 'compose')!r}); from standin.cli import main; sys.exit(main())"
        path.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -c {shlex.quote(code)} "$@"\n')
    path.chmod(0o755)
    return path


async def replica(  # noqa: PLR0917 - each is one fact about this replica
    site: Site, request: StackRequest, number: int, port: int, dsn: str, access_url: str, proxy: Address
) -> LocalReplica:
    """Start `coder server` number `number`; it is not waited for, so that replicas start together."""
    name, address = f"coder-{number}", Address(HOST, port)
    cache = site.temp / f"cache-{number}"
    cache.mkdir()
    env = {
        "HOME": str(cache),
        "HOSTNAME": name,
        "CODER_HTTP_ADDRESS": f"{HOST}:{port}",
        "CODER_ACCESS_URL": access_url,
        "CODER_PG_CONNECTION_URL": dsn,
        "CODER_DERP_SERVER_RELAY_URL": address.url,
        "CODER_DERP_SERVER_STUN_ADDRESSES": "disable",
        "CODER_CLUSTER_HOST": HOST,
        "CODER_CACHE_DIRECTORY": str(cache),
        "CODER_API_RATE_LIMIT": "-1",
        "CODER_TELEMETRY_ENABLE": "false",
        "CODER_UPDATE_CHECK": "false",
        "CODER_PROVISIONER_TYPES": "echo",
        "STANDIN_TIME_SCALE": f"{request.time_scale:g}",
        **request.server_env,
    }
    await site.spawn(Spec(name, (str(site.temp / "bin" / "coder"), "server"), clean_env(env)))
    return LocalReplica(name, "coder", address, site, proxy)


async def answers(target: LocalProcess, timeout_s: float) -> None:
    """Wait until a replica answers a question that needs the database; raise StackError with its last log lines."""
    async with http_client() as client:
        ready = partial(serves, HttpApi(target.address, client))
        await target.site.until(target.name, ready, timeout_s, "answering /api/v2/users/first")


async def balancer(site: Site, port: int, replicas: Sequence[LocalProcess], checks: Balancer) -> LocalProcess:
    """Start Caddy with the explicit health checks of compose/Caddyfile, and wait until every replica is in."""
    address = Address(HOST, port)
    env = {
        "HOME": str(site.temp),
        "XDG_DATA_HOME": str(site.temp / "caddy"),
        "XDG_CONFIG_HOME": str(site.temp / "caddy"),
        "CHAOS_BIND": HOST,
        "CHAOS_PORT": str(port),
        "CHAOS_UPSTREAMS": " ".join(f"{r.address.host}:{r.address.port}" for r in replicas),
        "CHAOS_HEALTH_INTERVAL": f"{checks.interval_s:g}s",
        "CHAOS_HEALTH_TIMEOUT": f"{checks.timeout_s:g}s",
        "CHAOS_HEALTH_FAILS": str(checks.failures),
    }
    config = data_root() / "compose" / "Caddyfile"
    argv = (str(tools.caddy()), "run", "--config", str(config), "--adapter", "caddyfile")
    await site.spawn(Spec("balancer", argv, clean_env(env)))
    target = LocalProcess("balancer", "balancer", address, site)
    async with http_client() as client:
        ready = routing_to(HttpApi(address, client), {r.address.port for r in replicas})
        await site.until("balancer", ready, 15, "routing to every replica")
    return target


async def toxics(targets: Sequence[LocalProcess]) -> list[str]:
    """One line for each toxic that a listener of a replica has now; raises HarnessError when Toxiproxy does not say."""
    found = []
    for target in targets:
        if isinstance(target, LocalReplica):
            on = await Toxiproxy(target.proxy).toxics(target.name)
            found += [f"{target.name}: the toxic {name} is on" for name in on]
    return found


async def version(target: LocalProcess) -> str:
    """Version a replica reports."""
    async with http_client() as client:
        with anyio.fail_after(10):
            return await version_of(HttpApi(target.address, client), target.name)
