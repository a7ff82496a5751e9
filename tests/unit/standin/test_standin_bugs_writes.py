"""Seeded bugs of writes and their twins: what was acknowledged, and who still waits for it."""

import asyncio
import signal
import time
from pathlib import Path

import asyncpg
import httpx
import pytest
from standin_bug_rig import calm, run_with
from standin_lab import Client, Process, Site, processes, set_up, until


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
        await calm(up)
        await up.settled(made["id"])
        assert time.monotonic() - started >= 5.0

    run_with(database, "ack-before-commit", check, count=3)


def test_slow_commit_answers_after(database: str) -> None:
    async def check(up: Site) -> None:
        started = time.monotonic()
        workspace = await up.workspace("one", ready=False)
        assert time.monotonic() - started >= 0.3
        assert (await up.owner.api("GET", f"/workspaces/{workspace}")).status_code == 200

    run_with(database, "slow-commit", check)


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

    run_with(database, "", check)
