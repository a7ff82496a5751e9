"""Seeded bugs of starts, heartbeats and watches, and their twins."""

import asyncio
import time
from datetime import timedelta

import asyncpg
import httpx
import pytest
from standin import remigrate
from standin.clock import Clock
from standin.server import Replica
from standin_bug_rig import only, run_with
from standin_lab import Client, Site, frames, settings_for, site, until
from websockets.exceptions import ConnectionClosed

NOWHERE = "postgres://nobody@127.0.0.1:1/none"


@pytest.mark.parametrize("bug", ["ready-before-pool", "slow-ready"])
def test_ready(database: str, bug: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Delays are cut short here; what counts is which comes first, the listener or the pool."""
    monkeypatch.setattr("standin.server._POOL_DELAYS", {"ready-before-pool": 0.8, "slow-ready": 0.3})

    async def check() -> None:
        replica = Replica(settings_for(database, bugs=only(bug)))
        base = replica.services.settings.access_url
        async with httpx.AsyncClient(timeout=5, trust_env=False) as http:
            client = Client(http, base, "0123456789-0123456789012345678901")
            starting, started = asyncio.create_task(replica.start()), time.monotonic()

            async def opened() -> bool:
                try:
                    return bool((await client.call("GET", "/healthz")).status_code == 200)
                except httpx.TransportError:
                    return False

            await until(opened)
            before = time.monotonic() - started
            early = await client.api("GET", "/users/me")
            if bug == "ready-before-pool":
                assert before < 0.6
                assert (early.status_code, early.json()["detail"][:14]) == (500, "Internal error")
            else:
                assert before >= 0.3
                assert early.status_code == 401
            await starting
            assert (await client.api("GET", "/users/me")).status_code == 401
            await replica.stop()

    asyncio.run(check())


@pytest.mark.parametrize(
    ("bug", "beat"), [("", 5.0), ("heartbeat-10x", 50.0), ("heartbeat-1.3x", 6.5)], ids=["none", "bug", "twin"]
)
def test_heartbeat(bug: str, beat: float) -> None:
    async def check() -> None:
        bugs = only(bug) if bug else frozenset()
        replica = Replica(settings_for(NOWHERE, scale=0.1, bugs=bugs))
        members = replica.services.replicas
        assert members.interval == pytest.approx(Clock(0.1).server(beat))
        assert members.gone_after == timedelta(seconds=members.interval * 3)
        await replica.stop()

    asyncio.run(check())


def test_watch_without_snapshot(database: str) -> None:
    async def check(up: Site) -> None:
        workspace = await up.workspace("one")
        async with up.owner.watch(workspace) as socket:
            assert (await frames(socket, 1))[0]["type"] == "ping"
            await up.owner.post(f"/workspaces/{workspace}/builds", {"transition": "stop"})
            assert (await frames(socket, 1))[0]["data"]["latest_build"]["build_number"] == 2

    run_with(database, "watch-no-snapshot", check)


def test_watch_with_slow_snapshot(database: str) -> None:
    async def check(up: Site) -> None:
        async with up.owner.watch(await up.workspace("one")) as socket:
            await frames(socket, 1)
            started = time.monotonic()
            assert (await frames(socket, 1))[0]["data"]["latest_build"]["build_number"] == 1
            assert 0.7 <= time.monotonic() - started < 3.0

    run_with(database, "watch-slow-snapshot", check)


@pytest.mark.parametrize("bug", ["", "reconnect-no-backoff", "slow-reconnect"])
def test_a_watch_soon_after_another_was_cut_off(database: str, bug: str) -> None:
    """Who says goodbye leaves no trace; after a cut each new watch is closed, or waits, until the time is over."""

    async def check(up: Site) -> None:
        workspace = await up.workspace("one")
        cuts = up.replicas[0].services.sockets.cuts
        async with up.owner.watch(workspace) as socket:
            await frames(socket, 2)
        async with up.owner.watch(workspace) as socket:
            await frames(socket, 2)
            assert cuts._until == 0.0, "the one before said goodbye"
            socket.transport.abort()

            async def noticed() -> bool:
                return cuts._until > 0.0

            await until(noticed)
            cut = time.monotonic()
        async with up.owner.watch(workspace) as socket:
            if bug == "reconnect-no-backoff":
                await asyncio.wait_for(socket.wait_closed(), 5)
                assert (socket.close_code, time.monotonic() - cut < 1.5) == (1011, True)
            else:
                await frames(socket, 2)
                assert (time.monotonic() - cut > 1.5) == (bug == "slow-reconnect")

        async def as_usual() -> bool:
            async with up.owner.watch(workspace) as socket:
                try:
                    return bool((await frames(socket, 2))[1]["type"] == "data")
                except ConnectionClosed:
                    return False

        await until(as_usual)

    run_with(database, bug, check)


@pytest.mark.parametrize(
    ("bug", "starts", "rows"),
    [("concurrent-migration", 2, 2), ("dirty-flag", 1, 1), ("slow-migration", 2, 1), ("", 2, 1)],
)
def test_two_that_start_at_once_on_a_database_in_use(
    database: str, monkeypatch: pytest.MonkeyPatch, bug: str, starts: int, rows: int
) -> None:
    """Either both do what one should, or the first keeps the second out, or they take turns."""
    monkeypatch.setattr(remigrate, "_USED_SECONDS", 0.0)

    async def check() -> None:
        async with site(database):
            both = [Replica(settings_for(database, bugs=only(bug))) for _ in range(2)]
            ended = await asyncio.gather(*(replica.start() for replica in both), return_exceptions=True)
            assert [str(error) for error in ended if error and "dirty" not in str(error)] == []
            assert ended.count(None) == starts
            admin = await asyncpg.connect(database)
            try:
                found = await admin.fetch("SELECT version, dirty FROM schema_migrations")
            finally:
                await admin.close()
            assert [tuple(row) for row in found] == [(1, False)] * rows
            for replica in both:
                await replica.stop()

    asyncio.run(check())
