"""Clients beside ours for `bench/clients.py`, each a process of its own: what does a request cost them?

`python -m bench.client_peers NAME PORT SECONDS` asks 127.0.0.1:PORT and prints one line of JSON: `requests` that ended in
the measured time, those of them that were `ok`, and the `seconds` of clock and `cpu_s` of processor time it took.

```
engine          our exchanges and wires, closed loop, 10 kept connections (harness.probes.pump)
fast            Locust's FastHttpUser, 10 users that ask again at once, kept connections
wait-aiohttp    600 requests/s in an open loop, a new connection for each, with aiohttp
wait-httpx      the same with httpx, at 200/s: at 600/s it needs more than a core, and what piles up costs it more still
wait-fast       about the same with Locust's FastHttpUser: 60 users of constant_throughput(10)
```
Time before the window is for connecting and warming up and is not counted.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

CONNECTIONS = 10
RATE = 600
HTTPX_RATE = 200
WARM_S = 1.0


def told(requests: int, ok: int, seconds: float, cpu_s: float) -> None:
    print(json.dumps({"requests": requests, "ok": ok, "seconds": seconds, "cpu_s": cpu_s}), flush=True)


def engine(port: int, seconds: float) -> None:
    from harness.probes.plan import LanePlan
    from harness.probes.pump import pump

    plan = LanePlan(0, "t", "127.0.0.1", port, "pinned", "/", 1.0, {}, 200, None)

    async def twice() -> None:
        await pump(plan, CONNECTIONS, WARM_S)
        told(*await pump(plan, CONNECTIONS, seconds))

    asyncio.run(twice())


async def open_loop(get: Callable[[], Awaitable[int]], seconds: float, rate: float = RATE) -> None:
    """Send `rate` requests per second, each when it is due; count those that end in the window."""
    ended: list[int] = []
    tasks: set[asyncio.Task[None]] = set()

    async def one() -> None:
        try:
            ended.append(await get())
        except Exception:  # noqa: BLE001 - a client that cannot keep the rate runs into its own time-outs
            ended.append(0)

    async def send_until(stop: float) -> None:
        nonlocal due
        while due < stop:
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            while due <= time.monotonic():
                task = asyncio.ensure_future(one())
                tasks.add(task)
                task.add_done_callback(tasks.discard)
                due += 1 / rate

    due = begun = time.monotonic()
    await send_until(begun + WARM_S)
    ended.clear()
    begun, cpu = time.monotonic(), time.process_time()
    await send_until(begun + seconds)
    told(len(ended), ended.count(200), time.monotonic() - begun, time.process_time() - cpu)
    for task in tasks:  # what a client that is too slow has piled up
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def wait_aiohttp(port: int, seconds: float) -> None:
    import aiohttp

    async def main() -> None:
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0, force_close=True)) as session:

            async def get() -> int:
                async with session.get(f"http://127.0.0.1:{port}/") as answer:
                    await answer.read()
                    return answer.status

            await open_loop(get, seconds)

    asyncio.run(main())


def wait_httpx(port: int, seconds: float) -> None:
    import httpx

    async def main() -> None:
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
        async with httpx.AsyncClient(limits=limits, trust_env=False) as client:

            async def get() -> int:
                return (await client.get(f"http://127.0.0.1:{port}/")).status_code

            await open_loop(get, seconds, HTTPX_RATE)

    asyncio.run(main())


def fast(port: int, seconds: float, *, fresh: bool = False) -> None:
    import gevent
    from locust import FastHttpUser, constant, constant_throughput, task
    from locust.env import Environment

    class User(FastHttpUser):
        host = f"http://127.0.0.1:{port}"
        wait_time = constant_throughput(10) if fresh else constant(0)
        default_headers = {"Connection": "close"} if fresh else {}

        @task
        def ask(self) -> None:
            self.client.get("/", name="/")
            while not fresh:
                self.client.get("/", name="/")

    environment = Environment(user_classes=[User])
    runner = environment.create_local_runner()
    users = RATE // 10 if fresh else CONNECTIONS
    runner.start(users, spawn_rate=users)
    gevent.sleep(1.0 + WARM_S)
    total = environment.stats.total
    begun, cpu, requests, failures = time.monotonic(), time.process_time(), total.num_requests, total.num_failures
    gevent.sleep(seconds)
    requests, failures = total.num_requests - requests, total.num_failures - failures
    told(requests, requests - failures, time.monotonic() - begun, time.process_time() - cpu)
    runner.quit()


PEERS: dict[str, Callable[[int, float], None]] = {
    "engine": engine,
    "fast": fast,
    "wait-aiohttp": wait_aiohttp,
    "wait-httpx": wait_httpx,
    "wait-fast": lambda port, seconds: fast(port, seconds, fresh=True),
}

if __name__ == "__main__":
    PEERS[sys.argv[1]](int(sys.argv[2]), float(sys.argv[3]))
