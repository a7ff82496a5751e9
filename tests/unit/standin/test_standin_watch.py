import asyncio
import time

import aiohttp
import pytest
from standin import sockets
from standin_lab import frames, site
from websockets.exceptions import ConnectionClosed, InvalidStatus

_FIVE = aiohttp.ClientWSTimeout(ws_close=5)


def test_two_replicas_see_each_others_events(database: str) -> None:
    async def check() -> None:
        async with site(database, count=2) as up:
            workspace = await up.workspace("one")
            async with up.client(0).watch(workspace) as here, up.client(1).watch(workspace) as there:
                for socket in (here, there):
                    ping, snapshot = await frames(socket, 2)
                    assert ping == {"type": "ping", "data": None}
                    assert (snapshot["type"], snapshot["data"]["id"]) == ("data", workspace)
                    assert snapshot["data"]["latest_build"]["build_number"] == 1
                await up.client(0).post(f"/workspaces/{workspace}/builds", {"transition": "stop"})
                for socket in (here, there):
                    statuses = [frame["data"]["latest_build"]["status"] for frame in await frames(socket, 3)]
                    assert statuses[-1] == "stopped"
                last = await up.owner.get(f"/workspaces/{workspace}")
                assert last["latest_build"]["build_number"] == 2

    asyncio.run(check())


def test_other_workspaces_make_no_frames(database: str) -> None:
    async def check() -> None:
        async with site(database) as up:
            one = await up.workspace("one")
            async with up.owner.watch(one) as socket:
                await frames(socket, 2)
                await up.workspace("two")
                await up.owner.post(f"/workspaces/{one}/builds", {"transition": "stop"})
                for frame in await frames(socket, 3):
                    assert frame["data"]["id"] == one

    asyncio.run(check())


def test_a_client_must_not_talk(database: str) -> None:
    async def check() -> None:
        async with site(database) as up:
            async with up.owner.watch(await up.workspace("one")) as socket:
                await frames(socket, 2)
                await socket.send("hello")
                with pytest.raises(ConnectionClosed) as closed:
                    await frames(socket, 1)
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1002

    asyncio.run(check())


def test_watch_needs_a_token_and_a_workspace(database: str) -> None:
    async def check() -> None:
        async with site(database) as up:
            workspace = await up.workspace("one")
            for client, target, status in (
                (up.owner.with_token(""), workspace, 401),
                (up.owner, "00000000-0000-4000-8000-000000000000", 404),
            ):
                with pytest.raises(InvalidStatus) as refused:
                    await client.watch(target).__aenter__()
                assert refused.value.response.status_code == status

    asyncio.run(check())


def test_shutdown_closes_with_1000(database: str) -> None:
    async def check() -> None:
        async with site(database, count=2) as up:
            workspace = await up.workspace("one")
            async with up.client(1).watch(workspace) as socket:
                await frames(socket, 2)
                started = time.monotonic()
                await up.replicas[1].stop()
                assert time.monotonic() - started < 2.0
                with pytest.raises(ConnectionClosed) as closed:
                    await frames(socket, 1)
            assert closed.value.rcvd is not None
            assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (1000, "Connection closed")
            assert len(await up.owner.get("/replicas")) == 1

    asyncio.run(check())


def test_server_pings_and_gives_up_on_silence(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sockets, "_PONG_MIN", 0.2)

    async def check() -> None:
        async with site(database, scale=0.01) as up, aiohttp.ClientSession() as http:
            url = f"{up.owner.base}/api/v2/workspaces/{await up.workspace('one')}/watch-ws"
            headers = {"Coder-Session-Token": up.owner.token}
            async with http.ws_connect(url, headers=headers, autoping=False, timeout=_FIVE) as socket:
                kinds = [(await socket.receive(5)).type for _ in range(3)]
                assert kinds == [aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.PING]
                await socket.pong()
                assert (await socket.receive(5)).type is aiohttp.WSMsgType.PING
                closed = await socket.receive(5)
                assert (closed.type, closed.data, closed.extra) == (aiohttp.WSMsgType.CLOSE, 1001, "Ping failed")

    asyncio.run(check())
