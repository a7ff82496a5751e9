"""Seeded bugs of a replica that is asked to leave, and their twins."""

import asyncio
import signal
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import httpx
import pytest
from standin_lab import Client, Process, frames, processes, set_up, until


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
