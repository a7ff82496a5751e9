"""Each seeded bug and its twin: the difference a client can see, and calm traffic without errors."""

import asyncio
import signal
import time
from collections.abc import Callable, Coroutine
from datetime import timedelta
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest
from standin import leak, remigrate, requestlock
from standin.clock import Clock
from standin.server import Replica
from standin_lab import PASSWORD, Client, Process, Site, frames, processes, set_up, settings_for, site, until
from websockets.exceptions import ConnectionClosed

NOWHERE = "postgres://nobody@127.0.0.1:1/none"


def _only(bug: str) -> frozenset[str]:
    return frozenset({bug} - {""})


def _run(url: str, bug: str, check: Callable[[Site], Coroutine[Any, Any, None]], **more: Any) -> None:
    """Run ``check`` on replicas with one bug; the lock's holding time counts only once all is set up."""

    async def inside() -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(requestlock, "_HOLD_SECONDS", 0.0)
            async with site(url, bugs=_only(bug), **more) as up:
                patch.undo()
                await check(up)

    asyncio.run(inside())


async def _calm(up: Site) -> None:
    """Sixty requests in one second over three replicas, with builds and logins among them; none may fail."""
    made = [
        await up.owner.post("/users/me/workspaces", {"name": f"w{n}", "template_id": up.template}) for n in range(3)
    ]
    codes: list[int] = []

    async def one(number: int) -> None:
        await asyncio.sleep(number / 60)
        client, workspace = up.client(number % 3), made[number // 12 % 3]["id"]
        if number % 12 == 0:
            response = await client.api("POST", f"/workspaces/{workspace}/builds", json={"transition": "stop"})
        elif number % 12 == 1:
            response = await client.api(
                "POST", "/users/login", json={"email": "owner@example.com", "password": PASSWORD}
            )
        else:
            response = await client.api("GET", "/workspaces" if number % 2 else "/users/me")
        codes.append(response.status_code)

    await asyncio.gather(*(one(number) for number in range(60)))
    assert max(codes) < 500, codes


def test_ack_before_commit_answers_first(database: str) -> None:
    async def check(up: Site) -> None:
        started = time.monotonic()
        made = await up.owner.post("/users/me/workspaces", {"name": "one", "template_id": up.template})
        assert time.monotonic() - started < 1.5
        assert (made["name"], made["latest_build"]["build_number"], made["latest_build"]["status"]) == (
            "one",
            1,
            "pending",
        )
        assert (await up.owner.api("GET", f"/workspaces/{made['id']}")).status_code == 404
        await _calm(up)
        await up.settled(made["id"])
        assert time.monotonic() - started >= 5.0

    _run(database, "ack-before-commit", check, count=3)


def test_slow_commit_answers_after(database: str) -> None:
    async def check(up: Site) -> None:
        started = time.monotonic()
        workspace = await up.workspace("one", ready=False)
        assert time.monotonic() - started >= 0.3
        assert (await up.owner.api("GET", f"/workspaces/{workspace}")).status_code == 200

    _run(database, "slow-commit", check)


def test_a_kill_loses_what_ack_before_commit_promised(database: str, tmp_path: Path) -> None:
    async def check(replicas: list[Process]) -> None:
        async with httpx.AsyncClient(timeout=10, trust_env=False) as http:
            await asyncio.gather(*(replica.ready(http) for replica in replicas))
            owner, template = await set_up(Client(http, replicas[0].base))
            made = await owner.post("/users/me/workspaces", {"name": "one", "template_id": template})
            replicas[0].popen.kill()
            replicas[0].popen.wait()
            other = owner.at(replicas[1].base)

            async def rolled_back() -> bool:
                """Once the name is free again the transaction is over."""
                body = {"name": "one", "template_id": template}
                return (await other.api("POST", "/users/me/workspaces", json=body)).status_code == 201

            await until(rolled_back)
            assert (await other.api("GET", f"/workspaces/{made['id']}")).status_code == 404

    with processes(2, database, tmp_path, bugs="ack-before-commit") as started:
        asyncio.run(check(started))


def _asked_to_leave(
    url: str, folder: Path, bug: str, check: Callable[[Process, float], Coroutine[Any, Any, None]]
) -> None:
    """Send SIGTERM to a replica that is ready, and ``check`` what becomes of it; the moment of the signal goes along."""

    async def inside(replica: Process) -> None:
        async with httpx.AsyncClient(timeout=10, trust_env=False) as http:
            await replica.ready(http)
        replica.popen.send_signal(signal.SIGTERM)
        await check(replica, time.monotonic())

    with processes(1, url, folder, bugs=bug) as (replica,):
        asyncio.run(inside(replica))


async def _accepts(replica: Process) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", replica.port)
    except ConnectionRefusedError:
        return False
    writer.close()
    return True


def test_sigterm_is_ignored(database: str, tmp_path: Path) -> None:
    async def check(replica: Process, _: float) -> None:
        async def noted() -> bool:
            return "SIGTERM received, ignored" in replica.log.read_text()

        await until(noted)
        assert replica.popen.poll() is None
        assert await _accepts(replica)

    _asked_to_leave(database, tmp_path, "ignores-sigterm", check)


def test_a_drain_that_never_ends_refuses_and_stays(database: str, tmp_path: Path) -> None:
    async def check(replica: Process, asked: float) -> None:
        async def refuses() -> bool:
            return not await _accepts(replica)

        async def long_enough() -> bool:
            return time.monotonic() - asked > 3.0

        await until(refuses)
        await until(long_enough)
        assert replica.popen.poll() is None
        assert "stopped" not in replica.log.read_text()

    _asked_to_leave(database, tmp_path, "drain-never-ends", check)


def test_a_slow_exit_refuses_at_once_and_ends(database: str, tmp_path: Path) -> None:
    async def check(replica: Process, asked: float) -> None:
        async def refuses() -> bool:
            return not await _accepts(replica)

        await until(refuses)
        assert replica.popen.poll() is None
        assert await replica.exit_code() == 0
        assert time.monotonic() - asked >= 3.0

    _asked_to_leave(database, tmp_path, "slow-exit", check)


@pytest.mark.parametrize(
    ("bug", "code", "least_s"), [("", 1000, 0.0), ("no-drain", 1006, 0.0), ("slow-drain", 1000, 1.0)]
)
def test_who_leaves_says_goodbye_to_its_streams(
    database: str, tmp_path: Path, bug: str, code: int, least_s: float
) -> None:
    """1006 is the client's word for a connection that ended without a close frame."""

    async def check(replica: Process) -> None:
        async with httpx.AsyncClient(timeout=10, trust_env=False) as http:
            await replica.ready(http)
            owner, template = await set_up(Client(http, replica.base))
            made = await owner.post("/users/me/workspaces", {"name": "one", "template_id": template})
            async with owner.watch(made["id"]) as socket:
                await frames(socket, 2)
                replica.popen.send_signal(signal.SIGTERM)
                asked = time.monotonic()
                await asyncio.wait_for(socket.wait_closed(), 10)
                assert (socket.close_code, time.monotonic() - asked >= least_s) == (code, True)
        assert await replica.exit_code() == 0
        assert ("stopped" in replica.log.read_text()) == (bug != "no-drain")

    with processes(1, database, tmp_path, bugs=bug) as (started,):
        asyncio.run(check(started))


@pytest.mark.parametrize("bug", ["", "orphan-on-stop", "interrupts-build", "last-builds"])
def test_builds_of_a_replica_that_leaves(database: str, tmp_path: Path, bug: str) -> None:
    """Those it took, before and after it was asked, end with one bug in nobody's hands, and with another one badly."""

    async def check(replicas: list[Process]) -> None:
        healthy, victim = replicas
        async with httpx.AsyncClient(timeout=10, trust_env=False) as http:
            await asyncio.gather(*(replica.ready(http) for replica in replicas))
            owner, template = await set_up(Client(http, healthy.base))
            victim.popen.send_signal(signal.SIGTERM)
            asked, made = time.monotonic(), []
            while victim.popen.poll() is None:
                body = {"name": f"w{len(made)}", "template_id": template}
                made.append((await owner.post("/users/me/workspaces", body))["id"])
                await asyncio.sleep(0.1)
            assert await victim.exit_code() == 0
            assert (time.monotonic() - asked >= 4.0) == bool(bug)

            async def settled() -> bool:
                """Whoever has not ended yet was the leaving replica's, if the bug is on."""
                jobs = [(await owner.get(f"/workspaces/{workspace}"))["latest_build"]["job"] for workspace in made]
                left = [job for job in jobs if job["status"] != "succeeded"]
                its = all((job.get("worker_name") or "").rpartition("-")[0] == f"coder-{victim.port}" for job in left)
                failed = {job["status"] == "failed" for job in left}
                return its and failed == {"orphan-on-stop": {False}, "interrupts-build": {True}}.get(bug, set())

            await until(settled)

    with processes(2, database, tmp_path, bugs=bug) as started:
        asyncio.run(check(started))


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

    _run(database, bug, check)


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

    _run(database, bug, check, threshold_database=0.0)


@pytest.mark.parametrize("bug", ["", "pool-leak-under-latency", "pool-returns-late"])
def test_a_slow_look_costs_a_connection_until_one_is_left(
    database: str, bug: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A look every 10 ms, of which each is slow from a moment on; then none is."""
    monkeypatch.setattr(leak, "_LOOK_SECONDS", 0.01)
    monkeypatch.setattr(leak, "_LATE_SECONDS", 0.1)

    async def check(up: Site) -> None:
        replica = up.replicas[0].services
        most: list[int] = [0]

        async def out(number: int) -> bool:
            most[0] = max(most[0], replica.db._out)
            return replica.db._out == number

        assert replica.settings.pool_max == 4
        monkeypatch.setattr(leak, "_SLOW_SECONDS", 0.0)
        looks = 3 if bug == "pool-leak-under-latency" else 2 if bug else 0
        await until(lambda: out(looks))
        monkeypatch.setattr(leak, "_SLOW_SECONDS", 60.0)
        await _calm(up)
        if bug == "pool-leak-under-latency":
            assert replica.db._out >= 3, "what is lost never comes back, and the last one still serves"
        else:
            await until(lambda: out(0))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(leak, "_SLOW_SECONDS", 60.0)
        _run(database, bug, check, pool_max=4, count=3)


@pytest.mark.parametrize("bug", ["", "late-write-at-thaw", "late-write-checked"])
def test_a_build_whose_caller_gave_up_is_posted_by_one_bug_alone(database: str, tmp_path: Path, bug: str) -> None:
    """Posted to a frozen replica, which finds requests and ends of connections together when it thaws."""

    async def check(replicas: list[Process]) -> None:
        healthy, victim = replicas
        async with httpx.AsyncClient(timeout=10, trust_env=False) as http:
            await asyncio.gather(*(replica.ready(http) for replica in replicas))
            owner, template = await set_up(Client(http, healthy.base))
            bodies = [{"name": f"w{n}", "template_id": template} for n in range(4)]
            made = [(await owner.post("/users/me/workspaces", body))["id"] for body in bodies]

            async def builds() -> list[tuple[int, str]]:
                latest = [(await owner.get(f"/workspaces/{workspace}"))["latest_build"] for workspace in made]
                return [(build["build_number"], build["status"]) for build in latest]

            async def built() -> bool:
                return await builds() == [(1, "running")] * 4

            async def given_up(workspace: str) -> None:
                call = owner.at(victim.base).api("POST", f"/workspaces/{workspace}/builds", json={"transition": "stop"})
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(call, 0.5)

            await until(built)
            victim.popen.send_signal(signal.SIGSTOP)
            await asyncio.gather(*(given_up(workspace) for workspace in made))
            victim.popen.send_signal(signal.SIGCONT)
            thawed = time.monotonic()
            await victim.ready(http)

            async def decided() -> bool:
                late = [number for number, _ in await builds()] == [2] * 4
                return late if bug == "late-write-at-thaw" else time.monotonic() - thawed > 2.0

            await until(decided)
            assert [number for number, _ in await builds()] == [2 if bug == "late-write-at-thaw" else 1] * 4

    with processes(2, database, tmp_path, bugs=bug) as started:
        asyncio.run(check(started))


def test_who_goes_away_takes_his_request_with_him(database: str) -> None:
    """While it waits for the database, in mid-work: what was not committed never is."""

    async def check(up: Site) -> None:
        workspace = await up.workspace("one")
        other = await asyncpg.connect(database)
        try:
            waiting = (
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
            )
            lock = other.transaction()
            await lock.start()
            await other.execute("LOCK TABLE workspace_builds IN SHARE ROW EXCLUSIVE MODE")
            post = asyncio.create_task(
                up.owner.api("POST", f"/workspaces/{workspace}/builds", json={"transition": "stop"})
            )

            async def waits() -> bool:
                return bool(await other.fetchval(waiting))

            async def served_no_more() -> bool:
                return not up.replicas[0].services.in_flight._open

            await until(waits)
            post.cancel()
            await until(served_no_more)
            await lock.rollback()
        finally:
            await other.close()
        made = await up.owner.post(f"/workspaces/{workspace}/builds", {"transition": "stop"})
        assert made["build_number"] == 2

    _run(database, "", check)


def test_watch_without_snapshot(database: str) -> None:
    async def check(up: Site) -> None:
        workspace = await up.workspace("one")
        async with up.owner.watch(workspace) as socket:
            assert (await frames(socket, 1))[0]["type"] == "ping"
            await up.owner.post(f"/workspaces/{workspace}/builds", {"transition": "stop"})
            assert (await frames(socket, 1))[0]["data"]["latest_build"]["build_number"] == 2

    _run(database, "watch-no-snapshot", check)


def test_watch_with_slow_snapshot(database: str) -> None:
    async def check(up: Site) -> None:
        async with up.owner.watch(await up.workspace("one")) as socket:
            await frames(socket, 1)
            started = time.monotonic()
            assert (await frames(socket, 1))[0]["data"]["latest_build"]["build_number"] == 1
            assert 0.7 <= time.monotonic() - started < 3.0

    _run(database, "watch-slow-snapshot", check)


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

    _run(database, bug, check)


@pytest.mark.parametrize("bug", ["ready-before-pool", "slow-ready"])
def test_ready(database: str, bug: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Delays are cut short here; what counts is which comes first, the listener or the pool."""
    monkeypatch.setattr("standin.server._POOL_DELAYS", {"ready-before-pool": 0.8, "slow-ready": 0.3})

    async def check() -> None:
        replica = Replica(settings_for(database, bugs=_only(bug)))
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
        bugs = _only(bug) if bug else frozenset()
        replica = Replica(settings_for(NOWHERE, scale=0.1, bugs=bugs))
        members = replica.services.replicas
        assert members.interval == pytest.approx(Clock(0.1).server(beat))
        assert members.gone_after == timedelta(seconds=members.interval * 3)
        await replica.stop()

    asyncio.run(check())


async def _frozen_request(url: str, bug: str) -> Any:
    """Take the lock as a request of a frozen replica would hold it: in a transaction nobody goes on with."""
    conn = await asyncpg.connect(url)
    await conn.execute("BEGIN")
    await conn.execute(requestlock._take("pg_advisory_xact_lock_shared", _only(bug)))
    return conn


@pytest.mark.parametrize("bug", ["holds-lock-in-request", "lock-with-timeout"])
def test_a_lock_held_by_a_frozen_request(database: str, bug: str) -> None:
    """The replicas' upkeep waits for it, and all requests wait behind the upkeep; but for PostgreSQL's limit, for ever."""

    async def check(up: Site) -> None:
        started = time.monotonic()
        await up.owner.get("/users/me")
        assert time.monotonic() - started >= 0.1
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

    _run(database, bug, check, count=2)


def test_an_ended_session_is_one_clean_500(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Holding for longer than PostgreSQL allows is what a thawed replica sees."""
    monkeypatch.setattr("standin.requestlock._HOLD_SECONDS", 0.5)

    async def check() -> None:
        replica = Replica(settings_for(database, bugs=_only("lock-with-timeout"), pool_max=2))
        await replica.start()
        async with httpx.AsyncClient(timeout=5, trust_env=False) as http:
            monkeypatch.setattr("standin.requestlock._HOLD_SECONDS", 0.0)
            owner, _ = await set_up(Client(http, replica.services.settings.access_url))
            monkeypatch.setattr("standin.requestlock._HOLD_SECONDS", 0.5)
            for _ in range(3):
                assert (await owner.api("GET", "/users/me")).status_code == 500
            monkeypatch.setattr("standin.requestlock._HOLD_SECONDS", 0.15)
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

    _run(database, bug, check, count=2)


@pytest.mark.parametrize("bug", [*sorted(requestlock.BUGS), *sorted(requestlock.TURN_BUGS)])
def test_calm_traffic_has_no_errors(database: str, monkeypatch: pytest.MonkeyPatch, bug: str) -> None:
    # Three replicas share this process: one that stands still for a moment has an idle session, which is another test's.
    monkeypatch.setattr(requestlock, "_IDLE_LIMIT_MS", 5000)
    _run(database, bug, _calm, count=3)


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
            both = [Replica(settings_for(database, bugs=_only(bug))) for _ in range(2)]
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
