"""Clients beside ours for `bench/freeze.py`, each a process of its own: what do they report when something breaks?

`python -m bench.freeze_peers freeze NAME PORT SECONDS` says `ready`, starts when its stdin ends, measures `SECONDS` after
one second of warming up, and prints `{"n", "p50", "p95", "p99", "max"}`, times in ms. All five are closed loops that aim
at 100 requests per second of a service that takes 50 ms: five users that ask again at once, or ten that keep a pace of
10/s. Locust's figures are those of its own tables.

`python -m bench.freeze_peers kills NAME PORT COUNT` sends COUNT GETs one after the other on one session and prints
`{"failed"}`.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

USERS = 5
PATH = "/api/v2/buildinfo"


def said(**row: Any) -> None:
    print(json.dumps(row), flush=True)


def quantile(ordered: list[float], q: float) -> float:
    return ordered[min(len(ordered) - 1, int(q * len(ordered)))]


def of_locust(port: int, seconds: float, users: int, pace: float | None) -> None:
    import gevent
    from locust import FastHttpUser, constant, constant_throughput, task
    from locust.env import Environment

    class User(FastHttpUser):
        host = f"http://127.0.0.1:{port}"
        wait_time = constant_throughput(pace) if pace else constant(0)

        @task
        def ask(self) -> None:
            self.client.get(PATH)

    environment = Environment(user_classes=[User])
    runner = environment.create_local_runner()
    said(ready=True)
    sys.stdin.read()
    runner.start(users, spawn_rate=100)
    gevent.sleep(1.0)
    environment.stats.reset_all()
    gevent.sleep(seconds)
    total = environment.stats.total
    quantiles = {f"p{p}": total.get_response_time_percentile(p / 100) for p in (50, 95, 99)}
    said(n=total.num_requests, **quantiles, max=total.max_response_time)
    runner.quit()


async def of_asyncio(get: Callable[[], Awaitable[object]], seconds: float) -> None:
    """Closed: `USERS` tasks that ask, wait for the answer, and ask again."""
    said(ready=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    begin = time.monotonic() + 1.0
    took: list[float] = []

    async def user() -> None:
        while (sent := time.monotonic()) < begin + seconds:
            await get()
            if sent >= begin:
                took.append(1000 * (time.monotonic() - sent))

    await asyncio.gather(*(user() for _ in range(USERS)))
    took.sort()
    said(n=len(took), **{f"p{p}": quantile(took, p / 100) for p in (50, 95, 99)}, max=took[-1])


async def with_aiohttp(port: int, use: Callable[[Callable[[], Awaitable[object]]], Awaitable[None]]) -> None:
    import aiohttp

    async with aiohttp.ClientSession() as session:

        async def get() -> None:
            async with session.get(f"http://127.0.0.1:{port}{PATH}") as answer:
                await answer.read()

        await use(get)


async def with_httpx(port: int, use: Callable[[Callable[[], Awaitable[object]]], Awaitable[None]]) -> None:
    import httpx

    async with httpx.AsyncClient(trust_env=False, timeout=30) as client:
        await use(lambda: client.get(f"http://127.0.0.1:{port}{PATH}"))


def freeze(name: str, port: int, seconds: float) -> None:
    if name == "locust-closed":
        of_locust(port, seconds, USERS, None)
    elif name == "locust-throughput":
        of_locust(port, seconds, 10, 10.0)
    else:
        client = {"aiohttp": with_aiohttp, "httpx": with_httpx}[name]
        asyncio.run(client(port, lambda get: of_asyncio(get, seconds)))


def kills(name: str, port: int, count: int) -> None:
    if name == "locust":
        kills_of_locust(port, count)
        return

    async def ask(get: Callable[[], Awaitable[object]]) -> None:
        failed = 0
        for _ in range(count):
            try:
                await get()
            except Exception:  # noqa: BLE001 - whatever it is called, it was told
                failed += 1
        said(failed=failed)

    asyncio.run({"aiohttp": with_aiohttp, "httpx": with_httpx}[name](port, ask))


def kills_of_locust(port: int, count: int) -> None:
    from locust import FastHttpUser
    from locust.env import Environment

    class User(FastHttpUser):
        host = f"http://127.0.0.1:{port}"

    environment = Environment(user_classes=[User])
    user = User(environment)
    for _ in range(count):
        user.client.get(PATH)
    said(failed=environment.stats.total.num_failures)


if __name__ == "__main__":
    what, name, port, much = sys.argv[1:]
    if what == "freeze":
        freeze(name, int(port), float(much))
    else:
        kills(name, int(port), int(much))
