"""Seeded bugs of the way to the database: its length, connections that are lost, locks; and their twins."""

import asyncio
import time
from typing import Any

import asyncpg
import httpx
import pytest
from standin import leak, requestlock
from standin.server import Replica
from standin_bug_rig import calm, only, run_with
from standin_lab import Client, Site, set_up, settings_for, until


@pytest.mark.parametrize(
    ("bug", "told"),
    [("", [7, 9, 11]), ("latency-not-reported", [0, 0, 0]), ("latency-reported-late", [0, 7, 9])],
)
def test_what_a_replica_says_of_its_way_to_the_database(database: str, bug: str, told: list[int]) -> None:
    async def check(up: Site) -> None:
        replicas = up.replicas[0].services.replicas

        async def figures() -> list[int]:
            return [row["database_latency"] for row in await up.owner.get("/replicas")]

        if bug == "latency-not-reported":
            assert await figures() == [0]
        else:

            async def positive() -> bool:
                return all(us > 0 for us in await figures())

            await until(positive)
        replicas._latency = 0
        assert [replicas._reported(us) for us in (7, 9, 11)] == told

    run_with(database, bug, check)


@pytest.mark.parametrize(
    ("bug", "codes", "least"),
    [("", ["EDB02"], 0.0), ("health-never-warns", [], 0.0), ("health-report-slow", ["EDB02"], 0.3)],
)
def test_what_the_health_report_says_of_a_database_that_is_far(
    database: str, bug: str, codes: list[str], least: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("standin.health._SLOW_SECONDS", 0.3)

    async def check(up: Site) -> None:
        started = time.monotonic()
        section = (await up.owner.get("/debug/health?force=true"))["database"]
        assert [warning["code"] for warning in section["warnings"]] == codes
        assert section["latency_ms"] >= section["threshold_ms"] == 0
        assert time.monotonic() - started >= least

    run_with(database, bug, check, threshold_database=0.0)


@pytest.mark.parametrize("bug", ["", "pool-leak-under-latency", "pool-returns-late"])
def test_a_slow_look_costs_a_connection_until_one_is_left(
    database: str, bug: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A look every 10 ms, of which each is slow from a moment on; then none is."""
    monkeypatch.setattr(leak, "_LOOK_SECONDS", 0.01)
    monkeypatch.setattr(leak, "_LATE_SECONDS", 0.1)

    async def check(up: Site) -> None:
        replica = up.replicas[0].services

        async def out(number: int) -> bool:
            return replica.db._out == number

        async def all_but_one() -> bool:
            """Of every replica, as it says itself: that many are out for a moment also while the last but one is not lost."""
            return sum("3 of 4" in message for message in caplog.messages) == 3

        assert replica.settings.pool_max == 4
        monkeypatch.setattr(leak, "_SLOW_SECONDS", 0.0)
        if bug == "pool-leak-under-latency":
            await until(all_but_one)
        else:
            await until(lambda: out(2 if bug else 0))
        monkeypatch.setattr(leak, "_SLOW_SECONDS", 60.0)
        await calm(up)
        if bug == "pool-leak-under-latency":
            assert replica.db._out >= 3, "what is lost never comes back, and the last one still serves"
        else:
            await until(lambda: out(0))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(leak, "_SLOW_SECONDS", 60.0)
        run_with(database, bug, check, pool_max=4, count=3)


async def _frozen_request(url: str, bug: str) -> Any:
    """Take the lock as a request of a frozen replica would hold it: in a transaction nobody goes on with."""
    conn = await asyncpg.connect(url)
    await conn.execute("BEGIN")
    await conn.execute(requestlock._take("pg_advisory_xact_lock_shared", only(bug)))
    return conn


@pytest.mark.parametrize("bug", ["holds-lock-in-request", "lock-with-timeout"])
def test_a_lock_held_by_a_frozen_request(database: str, bug: str) -> None:
    """The replicas' upkeep waits for it, and all requests wait behind the upkeep; but for PostgreSQL's limit, for ever."""

    async def check(up: Site) -> None:
        started = time.monotonic()
        await up.owner.get("/users/me")
        assert time.monotonic() - started >= (0.05 if bug == "lock-with-timeout" else 0.1)
        frozen, admin = await _frozen_request(database, bug), await asyncpg.connect(database)
        held = "SELECT FROM pg_stat_activity WHERE pid = $1"
        locks = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND mode = '{}' AND NOT granted"
        try:
            if bug == "lock-with-timeout":
                await until(lambda: admin.fetchval(f"SELECT NOT EXISTS({held})", frozen.get_server_pid()))
            else:
                await until(lambda: admin.fetchval(locks.format("ExclusiveLock")))
                behind = asyncio.create_task(up.client(0).get("/users/me"))
                await until(lambda: admin.fetchval(locks.format("ShareLock")))
                assert not behind.done()
                frozen.terminate()
                await asyncio.wait_for(behind, 5)
        finally:
            await admin.close()
            frozen.terminate()

    run_with(database, bug, check, count=2)


def test_an_ended_session_is_one_clean_500(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Holding for longer than PostgreSQL allows is what a thawed replica sees."""
    monkeypatch.setattr("standin.requestlock._HOLD_SECONDS", 1.0)

    async def check() -> None:
        replica = Replica(settings_for(database, bugs=only("lock-with-timeout"), pool_max=2))
        await replica.start()
        async with httpx.AsyncClient(timeout=5, trust_env=False) as http:
            monkeypatch.setattr("standin.requestlock._HOLD_SECONDS", 0.0)
            owner, _ = await set_up(Client(http, replica.services.settings.access_url))
            monkeypatch.setattr("standin.requestlock._HOLD_SECONDS", 1.0)
            for _ in range(3):
                assert (await owner.api("GET", "/users/me")).status_code == 500
            monkeypatch.setattr("standin.requestlock._HOLD_SECONDS", 0.3)
            assert (await owner.api("GET", "/users/me")).status_code == 200
        await replica.stop()

    asyncio.run(check())


@pytest.mark.parametrize("bug", ["shared-lock-contention", "lock-if-free"])
def test_a_replica_that_is_slow_while_it_refreshes(database: str, bug: str) -> None:
    """Its transaction holds the lock and does not go on: the others wait for it, or do without."""

    async def check(up: Site) -> None:
        slow = await asyncpg.connect(database)
        await slow.execute("BEGIN")
        await slow.execute("SELECT pg_advisory_xact_lock($1)", requestlock.TURN_KEY)
        asked = asyncio.create_task(up.client(1).get("/users/me"))
        if bug == "lock-if-free":
            await asyncio.wait_for(asked, 5)
        else:
            admin = await asyncpg.connect(database)
            try:
                waiting = (
                    "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND mode = 'ShareLock' AND NOT granted"
                )
                await until(lambda: admin.fetchval(waiting))
                assert not asked.done()
                assert (await up.client(1).api("GET", "/buildinfo")).status_code == 200, "what is public does not wait"
                slow.terminate()
                await asyncio.wait_for(asked, 5)
            finally:
                await admin.close()
        slow.terminate()

    run_with(database, bug, check, count=2)


@pytest.mark.parametrize("bug", [*sorted(requestlock.BUGS), *sorted(requestlock.TURN_BUGS)])
def test_calm_traffic_has_no_errors(database: str, monkeypatch: pytest.MonkeyPatch, bug: str) -> None:
    # Three replicas share this process: one that stands still for a moment has an idle session, which is another test's.
    monkeypatch.setattr(requestlock, "_IDLE_LIMIT_MS", 5000)
    run_with(database, bug, calm, count=3)
