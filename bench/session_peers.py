"""The other side of `bench/sessions.py`, each a process of its own: one server, and the clients ours is measured beside.

`python -m bench.session_peers server` prints its port. `... websockets|aiohttp PORT COUNT` holds COUNT sockets, says
`ready` when each had its first message, and ends with its stdin. Both ping every second, as our meter does.
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys

PATH = "/api/v2/workspaces/w/watch-ws"
PING_S = 1.0
_SNAPSHOT = json.dumps(
    {"type": "data", "data": {"latest_build": {"build_number": 1, "status": "running"}, "updated_at": "now"}}
)
_AT_ONCE = 50


async def server() -> None:
    from aiohttp import web

    async def watch(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(compress=False)
        await socket.prepare(request)
        await socket.send_str(_SNAPSHOT)
        async for _ in socket:
            pass
        return socket

    app = web.Application()
    app.router.add_get(PATH, watch)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, backlog=1024)
    await site.start()
    print(runner.addresses[0][1], flush=True)
    await _end_of_input()


async def with_websockets(port: int, count: int) -> None:
    from websockets.asyncio.client import connect

    first, gate = asyncio.Semaphore(0), asyncio.Semaphore(_AT_ONCE)

    async def hold() -> None:
        async with gate:
            socket = await connect(
                f"ws://127.0.0.1:{port}{PATH}", compression=None, ping_interval=PING_S, ping_timeout=20, proxy=None
            )
            await socket.recv()
        first.release()
        async for _ in socket:
            pass

    await _hold(hold, count, first)


async def with_aiohttp(port: int, count: int) -> None:
    from aiohttp import ClientSession, TCPConnector

    first, gate = asyncio.Semaphore(0), asyncio.Semaphore(_AT_ONCE)
    async with ClientSession(connector=TCPConnector(limit=0)) as session:

        async def hold() -> None:
            async with gate:
                url = f"http://127.0.0.1:{port}{PATH}"
                socket = await session.ws_connect(url, heartbeat=PING_S, compress=0)
                await socket.receive()
            first.release()
            async for _ in socket:
                pass

        await _hold(hold, count, first)


async def _hold(hold: object, count: int, first: asyncio.Semaphore) -> None:
    tasks = [asyncio.ensure_future(hold()) for _ in range(count)]  # type: ignore[operator]
    for _ in range(count):
        await first.acquire()
    gc.collect()
    gc.freeze()  # as our meter does
    print("ready", flush=True)
    await _end_of_input()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _end_of_input() -> None:
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    what, *rest = sys.argv[1:]
    known = {"server": server, "websockets": with_websockets, "aiohttp": with_aiohttp}
    asyncio.run(known[what](*map(int, rest)))  # type: ignore[operator]
