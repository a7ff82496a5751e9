"""Log followers, the inbox, server-sent events and the echo: what they say, and how they end."""

import asyncio
import json
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from standin import watch
from standin.notifications import build_ended
from standin_lab import PASSWORD, Client, Site, frames, site, slow_builds, until
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed


def _dial(client: Client, path: str) -> connect:
    url = f"ws{client.base.removeprefix('http')}/api/v2{path}"
    return connect(url, additional_headers={"Coder-Session-Token": client.token}, proxy=None)


async def _rest(socket: ClientConnection) -> tuple[list[Any], int, str]:
    """Read to the end; give the frames, and the code and reason of the close."""
    seen = []

    async def read() -> None:
        while True:
            seen.append(json.loads(await socket.recv()))

    with pytest.raises(ConnectionClosed) as closed:
        await asyncio.wait_for(read(), 30)
    assert closed.value.rcvd is not None
    return seen, closed.value.rcvd.code, closed.value.rcvd.reason


async def _build(up: Site, workspace: str) -> Any:
    return (await up.owner.get(f"/workspaces/{workspace}"))["latest_build"]


async def _end_listening(url: str) -> None:
    admin = await asyncpg.connect(url)
    try:
        ended = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'"
        assert await admin.fetchval(f"{ended} AND datname = current_database()") == 1
    finally:
        await admin.close()


def test_a_follower_gets_history_then_live_lines_then_1000(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    slow_builds(monkeypatch, 5)

    async def check() -> None:
        async with site(database, count=2, scale=1.0) as up:
            build = (await _build(up, await up.workspace("one", ready=False)))["id"]

            async def begun() -> Any:
                return await up.owner.get(f"/workspacebuilds/{build}/logs")

            history = await until(begun)
            async with _dial(up.client(1), f"/workspacebuilds/{build}/logs?follow=true") as socket:
                seen, code, reason = await _rest(socket)
            assert (code, reason) == (1000, "done")
            assert seen[: len(history)] == history
            assert len(seen) > len(history)  # the build was not over, so some came live
            assert [line["id"] for line in seen] == sorted({line["id"] for line in seen})
            stages = list(dict.fromkeys(line["stage"] for line in seen))
            assert stages == ["Setting up", "Planning infrastructure", "Starting workspace", "Cleaning Up"]
            assert await up.owner.get(f"/workspacebuilds/{build}/logs") == seen
            async with _dial(up.owner, f"/workspacebuilds/{build}/logs?follow&after={seen[2]['id']}") as socket:
                assert await _rest(socket) == (seen[3:], 1000, "done")
            bad = await up.owner.api("GET", f"/workspacebuilds/{build}/logs?after=x")
            assert (bad.status_code, bad.json()["validations"][0]["field"]) == (400, "after")

    asyncio.run(check())


def test_a_follower_is_sent_away_when_messages_may_be_lost(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    slow_builds(monkeypatch, 100)

    async def check() -> None:
        async with site(database, scale=0.2) as up:
            build = (await _build(up, await up.workspace("one", ready=False)))["id"]
            async with _dial(up.owner, f"/workspacebuilds/{build}/logs?follow") as socket:
                await frames(socket, 1)
                await _end_listening(database)
                seen, code, reason = await _rest(socket)
            assert (code, reason) == (1011, "dropped or corrupted notification")
            last = seen[-1]["id"] if seen else 0
            async with _dial(up.owner, f"/workspacebuilds/{build}/logs?follow&after={last}") as socket:
                await up.owner.api("PATCH", f"/workspacebuilds/{build}/cancel")
                seen, code, _ = await _rest(socket)
            assert code == 1000
            assert all(line["id"] > last for line in seen)

    asyncio.run(check())


def test_a_template_version_has_logs_too(database: str) -> None:
    async def check() -> None:
        async with site(database) as up:
            version = (await up.owner.get(f"/templates/{up.template}"))["active_version_id"]
            async with _dial(up.owner, f"/templateversions/{version}/logs?follow") as socket:
                seen, code, _ = await _rest(socket)
            assert (seen[0]["stage"], code) == ("Parsing template parameters", 1000)

    asyncio.run(check())


async def _member(up: Site) -> Client:
    user = {"username": "mia", "email": "mia@example.com", "password": PASSWORD}
    await up.owner.post("/users", user)
    session = await up.owner.post("/users/login", {"email": user["email"], "password": PASSWORD})
    return up.owner.with_token(session["session_token"])


async def _inbox(client: Client, title: str) -> Any:
    async def told() -> Any:
        listed = (await client.get("/notifications/inbox"))["notifications"]
        return [item for item in listed if item["title"] == title]

    return (await until(told))[0]


def test_the_inbox_tells_others_not_oneself(database: str) -> None:
    async def check() -> None:
        async with site(database, count=2) as up:
            member = await _member(up)
            async with _dial(up.client(1), "/notifications/inbox/watch?read_status=unread") as socket:
                await up.workspace("own")
                made = await member.post("/users/me/workspaces", {"name": "hers", "template_id": up.template})
                (frame,) = await frames(socket, 1)
            assert (frame["notification"]["title"], frame["unread_count"]) == ("Workspace Created", 1)
            assert made["id"] in frame["notification"]["targets"]
            listed = await up.owner.get("/notifications/inbox")
            assert [item["id"] for item in listed["notifications"]] == [frame["notification"]["id"]]
            await up.settled(made["id"])
            await up.owner.post(f"/workspaces/{made['id']}/builds", {"transition": "delete"})
            gone = await _inbox(member, "Workspace Deleted")
            assert "owner" in gone["content"]

    asyncio.run(check())


def test_notifications_are_read_one_by_one_or_all(database: str) -> None:
    async def check() -> None:
        async with site(database) as up:
            member = await _member(up)
            for name in ("a", "b"):
                await member.post("/users/me/workspaces", {"name": name, "template_id": up.template})

            async def both() -> bool:
                return len((await up.owner.get("/notifications/inbox"))["notifications"]) == 2

            await until(both)
            newest, oldest = (await up.owner.get("/notifications/inbox"))["notifications"]
            path = f"/notifications/inbox/{newest['id']}/read-status"
            answer = (await up.owner.api("PUT", path, json={"is_read": True})).json()
            assert (answer["unread_count"], bool(answer["notification"]["read_at"])) == (1, True)
            unread = await up.owner.get("/notifications/inbox?read_status=unread")
            assert [item["id"] for item in unread["notifications"]] == [oldest["id"]]
            before = await up.owner.get(f"/notifications/inbox?starting_before={newest['id']}")
            assert [item["id"] for item in before["notifications"]] == [oldest["id"]]
            none = await up.owner.get(f"/notifications/inbox?templates={up.template}")
            assert none["notifications"] == []
            assert (await up.owner.api("GET", "/notifications/inbox?read_status=x")).status_code == 400
            assert (await member.api("PUT", path, json={"is_read": False})).status_code == 404
            assert (await up.owner.api("PUT", "/notifications/inbox/mark-all-as-read")).status_code == 204
            assert (await up.owner.get("/notifications/inbox"))["unread_count"] == 0

    asyncio.run(check())


def test_a_failed_build_is_told_to_the_admins(database: str) -> None:
    async def check() -> None:
        async with site(database) as up:
            job = (await _build(up, await up.workspace("one")))["job"]["id"]
            db = up.replicas[0].services.db
            await db.value("UPDATE provisioner_jobs SET error = 'no luck' WHERE id = $1", UUID(job))
            await build_ended(db, UUID(job))
            assert "Build 1 of the workspace one" in (await _inbox(up.owner, "Manual Build Failed"))["content"]

    asyncio.run(check())


def test_a_new_active_version_makes_watched_workspaces_outdated(database: str) -> None:
    async def check() -> None:
        async with site(database, count=2) as up:
            workspace = await up.workspace("one")
            template = await up.owner.get(f"/templates/{up.template}")
            old = await up.owner.get(f"/templateversions/{template['active_version_id']}")
            body = {"storage_method": "file", "file_id": old["job"]["file_id"], "provisioner": "echo"}
            path = f"/organizations/{template['organization_id']}/templateversions"
            new = (await up.owner.post(path, body | {"template_id": up.template}))["id"]

            async def imported() -> bool:
                return bool((await up.owner.get(f"/templateversions/{new}"))["job"]["status"] == "succeeded")

            await until(imported)
            async with up.client(1).watch(workspace) as socket:
                await frames(socket, 2)
                answer = await up.owner.api("PATCH", f"/templates/{up.template}/versions", json={"id": new})
                assert answer.status_code == 200
                (frame,) = await frames(socket, 1)
                assert frame["data"]["outdated"] is True
            built = await up.owner.post(
                f"/workspaces/{workspace}/builds", {"transition": "start", "template_version_id": new}
            )
            assert built["template_version_id"] == new

    asyncio.run(check())


def test_server_sent_events(database: str) -> None:
    async def check() -> None:
        async with site(database, count=2, scale=0.02) as up:
            workspace, owner = await up.workspace("one"), up.client(1)
            url, headers = f"{owner.base}/api/v2/workspaces/{workspace}/watch", {"Coder-Session-Token": owner.token}
            async with owner.http.stream("GET", url, headers=headers) as response:
                assert response.headers["Cache-Control"] == "no-cache"
                assert response.headers["X-Accel-Buffering"] == "no"
                lines = aiter(response.aiter_lines())

                async def event() -> tuple[str, Any]:
                    name, data = "", None
                    async for line in lines:
                        if not line:
                            return name, data
                        kind, _, text = line.partition(": ")
                        name, data = (text, data) if kind == "event" else (name, json.loads(text))
                    return "end", None

                async def next_event() -> tuple[str, Any]:
                    return await asyncio.wait_for(event(), 20)

                assert await next_event() == ("ping", None)
                assert (await next_event())[1]["latest_build"]["build_number"] == 1
                assert await next_event() == ("ping", None)  # the keepalive, after 15 s of server time
                await up.client(0).post(f"/workspaces/{workspace}/builds", {"transition": "stop"})
                while (seen := await next_event())[0] == "ping":
                    pass
                assert seen[1]["latest_build"]["build_number"] == 2
                await up.replicas[1].stop()
                while (seen := await next_event())[0] != "end":
                    pass

    asyncio.run(check())


def test_the_echo_cuts_off_who_says_nothing(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "_ECHO_SECONDS", 0.5)

    async def check() -> None:
        async with site(database) as up, _dial(up.owner, "/debug/ws") as socket:
            for number in range(2):
                await asyncio.sleep(0.3)
                await socket.send(str(number))
                assert await asyncio.wait_for(socket.recv(), 20) == str(number)
            await asyncio.wait_for(await socket.ping(), 20)  # answered, yet no message
            with pytest.raises(ConnectionClosed) as closed:
                await asyncio.wait_for(socket.recv(), 20)
            assert closed.value.rcvd is None

    asyncio.run(check())


def test_a_message_beyond_the_limit_is_1009(database: str) -> None:
    async def check() -> None:
        async with site(database) as up, _dial(up.owner, "/debug/ws") as socket:
            await socket.send("x" * 40_000)
            with pytest.raises(ConnectionClosed) as closed:
                await asyncio.wait_for(socket.recv(), 20)
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1009

    asyncio.run(check())
