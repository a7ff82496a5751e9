import asyncio
from typing import Any

import asyncpg
import pytest
from standin import db as pool
from standin.server import Replica, StartError, serve
from standin_lab import Relay, Site, frames, settings_for, site, until

AWAY = "An internal error occurred. Please try again or contact the system administrator."


async def _answers(up: Site) -> bool:
    return bool((await up.owner.api("GET", "/users/me")).status_code == 200)


def test_database_away_is_500_never_401_and_heals(database: str) -> None:
    async def check() -> None:
        relay = Relay(database)
        await relay.up()
        async with site(relay.url) as up:
            await relay.down()
            response = await up.owner.api("GET", "/users/me")
            assert response.status_code == 500
            assert response.json()["message"] == AWAY
            assert response.json()["detail"].startswith("Internal error fetching API key by id. ")
            assert (await up.owner.api("GET", "/users/first")).status_code == 500
            assert (await up.owner.call("GET", "/healthz")).status_code == 200
            assert (await up.owner.api("GET", "/buildinfo")).status_code == 200
            await relay.up()
            await until(lambda: _answers(up))
            workspace = await up.workspace("after")  # LISTEN is back too, or the poll found the job
            assert await up.settled(workspace)
        await relay.down()

    asyncio.run(check())


def test_a_hanging_database_is_bounded(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "COMMAND_SECONDS", 0.3)
    monkeypatch.setattr(pool, "ACQUIRE_SECONDS", 0.5)
    monkeypatch.setattr(pool, "CONNECT_SECONDS", 0.3)

    async def check() -> None:
        relay = Relay(database)
        await relay.up()
        async with site(relay.url) as up:
            relay.swallow(on=True)
            calls = [up.owner.api("GET", "/users/me") for _ in range(15)]
            answers = await asyncio.wait_for(asyncio.gather(*calls), 5)
            assert {response.status_code for response in answers} == {500}
            relay.swallow(on=False)
            await until(lambda: _answers(up))
        await relay.down()

    asyncio.run(check())


def test_a_connection_that_nobody_took_is_ended(database: str) -> None:
    """Opened for LISTEN, and its opener is cancelled before it has its turn to hand it over."""

    async def check() -> None:
        async with site(database) as up:
            pubsub = up.replicas[0].services.pubsub
            admin = await asyncpg.connect(database)
            query = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query = ''"

            async def waits() -> bool:
                return bool(pubsub._lock._waiters)

            async def unused() -> bool:
                return bool(await admin.fetchval(query))

            async def gone() -> bool:
                return not await unused()

            async with pubsub._lock:
                opening = asyncio.create_task(pubsub._connect())
                await until(waits)
                assert await unused()
                opening.cancel()
                await until(gone)
            await admin.close()

    asyncio.run(check())


def test_watch_goes_on_after_the_listen_backend_ended(database: str) -> None:
    async def check() -> None:
        async with site(database) as up:
            workspace = await up.workspace("one")
            async with up.owner.watch(workspace) as socket:
                await frames(socket, 2)
                admin = await asyncpg.connect(database)
                try:
                    ended = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'"
                    assert await admin.fetchval(f"{ended} AND datname = current_database()") == 1

                    async def listens() -> Any:
                        found = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'"
                        return await admin.fetchval(f"{found} AND datname = current_database()")

                    await until(listens)
                finally:
                    await admin.close()
                await up.owner.post(f"/workspaces/{workspace}/builds", {"transition": "stop"})
                seen = [frame["data"]["latest_build"]["build_number"] for frame in await frames(socket, 1)]
                assert seen == [2]

    asyncio.run(check())


def test_a_failed_listen_leaves_no_member(database: str) -> None:
    async def check() -> None:
        async with site(database) as up:
            taken = up.replicas[0].services.settings.port
            replica = Replica(settings_for(database, port=taken))
            with pytest.raises(StartError, match="cannot listen on"):
                await replica.start()
            await replica.stop()
            assert len(await up.owner.get("/replicas")) == 1

    asyncio.run(check())


def test_a_newer_or_dirty_schema_is_refused(database: str) -> None:
    async def check() -> None:
        async with site(database):
            admin = await asyncpg.connect(database)
            try:
                for version, dirty, text in ((99, False, "no migration found"), (1, True, "dirty")):
                    await admin.execute("UPDATE schema_migrations SET version = $1, dirty = $2", version, dirty)
                    replica = Replica(settings_for(database))
                    with pytest.raises(StartError, match=text):
                        await replica.start()
                    await replica.stop()
            finally:
                await admin.close()

    asyncio.run(check())


@pytest.mark.parametrize(("interrupt", "status"), [(False, "running"), (True, "failed")])
def test_a_stop_waits_for_the_build_unless_interrupted(database: str, *, interrupt: bool, status: str) -> None:
    async def check() -> None:
        async with site(database, count=2, scale=0.5) as up:
            workspace = await up.workspace("one", ready=False)

            async def worker() -> Any:
                return (await up.owner.get(f"/workspaces/{workspace}"))["latest_build"]["job"].get("worker_name")

            name = await until(worker)
            hosts = [replica.services.settings.hostname for replica in up.replicas]
            builder = hosts.index(name.rpartition("-")[0])
            other = up.client(1 - builder)
            stopping = asyncio.create_task(up.replicas[builder].stop(interrupt=interrupt))
            if not interrupt:
                await asyncio.sleep(0)
                assert len(await other.get("/replicas")) == 2  # still a member while it builds
            await stopping
            build = (await other.get(f"/workspaces/{workspace}"))["latest_build"]
            assert build["status"] == status
            assert len(await other.get("/replicas")) == 1

    asyncio.run(check())


def test_no_database_for_too_long_is_exit_1(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "START_SECONDS", 0.0)
    url = "postgres://nobody:secret@127.0.0.1:1/none?sslmode=disable"
    assert asyncio.run(serve(settings_for(url))) == 1
    assert "cannot use PostgreSQL" in caplog.messages[-1]
    assert "secret" not in caplog.text
