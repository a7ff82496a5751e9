"""Requests per second of three replicas of the stand-in when their database is some milliseconds away.

Closed loop over kept connections, straight to the replicas, with the limits on the rate of requests switched off. The
figures say how far a scenario can load the stand-in on this machine; they say nothing about Coder.
"""

from __future__ import annotations

import asyncio
import sys
import time
from typing import TYPE_CHECKING, Final

from bench.show import show
from harness.backends import local
from harness.bootstrap import bootstrap
from harness.clients.toxiproxy import Toxiproxy
from harness.config import load
from harness.discover import data_root
from harness.stack import Context, StackRequest

if TYPE_CHECKING:
    from pathlib import Path

    from harness.stack import Address

ADDED_MS: Final = (0, 10, 25)
"""What is added to a round trip to the database."""
ROUTES: Final = ("/users/me", "/workspaces/{workspace}", "/workspaces?q=owner:me&limit=25&offset=0")
CONNECTIONS: Final = 16
"""Per replica: more than its pool has, so that the pool and not the client is the limit."""
SETTLE_S, MEASURE_S, PARTS = 2.0, 6.0, 3
POOL: Final = 10


class Client:
    """Asks for one path over one kept connection, again and again."""

    def __init__(self, address: Address, path: str, token: str) -> None:
        self._address = address
        self._request = f"GET /api/v2{path} HTTP/1.1\r\nHost: bench\r\nCoder-Session-Token: {token}\r\n\r\n".encode()
        self.ends: list[float] = []

    async def run(self) -> None:
        reader, writer = await asyncio.open_connection(self._address.host, self._address.port)
        try:
            while True:
                writer.write(self._request)
                head = await reader.readuntil(b"\r\n\r\n")
                assert head.startswith(b"HTTP/1.1 200 "), head
                length = head.lower().partition(b"content-length: ")[2].split(b"\r", 1)[0]
                await reader.readexactly(int(length))
                self.ends.append(time.perf_counter())
        finally:
            writer.close()


async def rate(addresses: list[Address], path: str, token: str) -> list[float]:
    """Requests per second, in parts of the measuring time."""
    clients = [Client(address, path, token) for address in addresses for _ in range(CONNECTIONS)]
    tasks = [asyncio.create_task(client.run()) for client in clients]
    began = time.perf_counter() + SETTLE_S
    await asyncio.sleep(SETTLE_S + MEASURE_S)
    broken = [task for task in tasks if task.done()]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert not broken, broken[0].exception()
    length = MEASURE_S / PARTS
    ends = [int((end - began) // length) for client in clients for end in client.ends]
    return [ends.count(part) / length for part in range(PARTS)]


def trips_of(path: str) -> int:
    """Round trips per request, as the stand-in's table says."""
    sys.path.insert(0, str(data_root() / "compose"))
    from standin.queries import PLANS

    plain = path.partition("?")[0].replace("/users/me", "/users/{user}")
    return PLANS[f"GET {plain}"].trips()


async def measure(temp: Path) -> None:
    settings = load({}, {})
    context = Context("latency", temp, lambda _: None, lambda _: None, settings.cache_dir, temp / "state")
    request = StackRequest(server_env={"CODER_DANGEROUS_DISABLE_RATE_LIMITS": "true"})
    async with local.open(request, context) as stack:
        world = await bootstrap(stack.api("balancer"), "latency", users=0, workspaces=10)
        replicas = [f"coder-{number}" for number in range(1, request.replicas + 1)]
        addresses = [stack.address(name) for name in replicas]
        toxiproxy = Toxiproxy(stack.address("toxiproxy"))
        before = 0
        for added in ADDED_MS:
            for name in replicas if added > before else ():
                for stream, ms in (
                    ("upstream", added // 2 - before // 2),
                    ("downstream", -(-added // 2) + -before // 2),
                ):
                    await toxiproxy.add_latency(name, f"{stream}-{added}", stream, ms)
            before = added
            for route in ROUTES:
                rates = await rate(addresses, route.replace("{workspace}", world.workspaces[0]), world.admin)
                show(f"GET {route.partition('?')[0]}, database + {added} ms", rates, "/s", "measured")
                if added:
                    bound = len(replicas) * POOL / (trips_of(route) * added / 1e3)
                    print(f"  {trips_of(route)} round trips each, so the pools allow at most {bound:.1f}/s", flush=True)


def run(temp: Path) -> None:
    asyncio.run(measure(temp))
