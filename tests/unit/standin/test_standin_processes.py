import asyncio
import signal
import time
from pathlib import Path
from typing import Any

import asyncpg
import httpx
from standin_lab import Client, Process, processes, set_up, until


async def _members(client: Client) -> list[str]:
    return sorted(row["hostname"] for row in await client.get("/replicas"))


def test_three_start_at_once_then_one_is_killed_and_two_are_stopped(empty_database: str, tmp_path: Path) -> None:
    async def check(replicas: list[Process]) -> None:
        async with httpx.AsyncClient(timeout=10, trust_env=False) as http:
            await asyncio.gather(*(replica.ready(http) for replica in replicas))
            migrated = [replica.log.read_text().count("migration_run_started") for replica in replicas]
            assert sorted(migrated) == [0, 0, 1]
            assert all("coder-chaos stand-in, not Coder" in replica.log.read_text() for replica in replicas)
            owner, _ = await set_up(Client(http, replicas[0].base))
            names = sorted(f"coder-{replica.port}" for replica in replicas)
            assert await _members(owner) == names

            async def errors_gone() -> bool:
                return all(row["error"] == "" for row in await owner.get("/replicas"))

            await until(errors_gone)
            victim = replicas[2]
            victim.popen.kill()
            killed = time.monotonic()

            async def left() -> bool:
                return len(await _members(owner)) == 2

            await until(left)
            assert 0.9 <= time.monotonic() - killed <= 4.0  # gone after 1.5 s, of which up to 0.5 s had passed
            for number, replica in ((signal.SIGTERM, replicas[1]), (signal.SIGINT, replicas[0])):
                started = time.monotonic()
                replica.popen.send_signal(number)
                assert await replica.exit_code() == 0, replica.log.read_text()
                assert time.monotonic() - started < 2.0
                assert replica.log.read_text().endswith("[info] stopped\n")
                if replica is replicas[1]:
                    assert len(await _members(owner)) == 1

    with processes(3, empty_database, tmp_path) as started:
        asyncio.run(check(started))


def test_a_frozen_replica_comes_back_and_overwrites_nothing(database: str, tmp_path: Path) -> None:
    """Its build is aged by hand, so that the other replica's reaper ends it while it sleeps."""

    async def check(replicas: list[Process]) -> None:
        healthy, victim = replicas
        async with httpx.AsyncClient(timeout=10, trust_env=False) as http:
            await asyncio.gather(*(replica.ready(http) for replica in replicas))
            owner, template = await set_up(Client(http, healthy.base))

            async def latest(workspace: str) -> Any:
                return (await owner.get(f"/workspaces/{workspace}"))["latest_build"]

            async def frozen_build() -> Any:
                """Freeze while a build runs; when the other replica has it, thaw and try a new workspace."""
                body = {"template_id": template, "name": f"w{time.monotonic_ns()}"}
                workspace = (await owner.post("/users/me/workspaces", body))["id"]

                async def started() -> Any:
                    return (await latest(workspace))["job"].get("worker_name")

                if (await until(started)).rpartition("-")[0] == f"coder-{victim.port}":
                    victim.popen.send_signal(signal.SIGSTOP)
                    # A statement that was on its way may still have ended the build behind the first answer.
                    if all([(await latest(workspace))["job"]["status"] == "running" for _ in range(2)]):
                        return workspace
                    victim.popen.send_signal(signal.SIGCONT)
                return None

            workspace = await until(frozen_build)
            admin = await asyncpg.connect(database)
            await admin.execute("UPDATE provisioner_jobs SET updated_at = 'yesterday' WHERE job_status = 'running'")
            await admin.close()

            async def failed() -> bool:
                return bool((await latest(workspace))["status"] == "failed")

            await until(failed)
            job = (await latest(workspace))["job"]
            assert "hung for 5 minutes" in job["error"]
            victim.popen.send_signal(signal.SIGCONT)

            async def noticed() -> bool:
                text = victim.log.read_text()
                return "is no longer ours" in text or "had already ended" in text

            await until(noticed)
            assert (await latest(workspace))["job"] == job

            async def both() -> bool:
                return len(await _members(owner)) == 2

            await until(both)
            assert victim.popen.poll() is None

    with processes(2, database, tmp_path, scale=0.05) as started:
        asyncio.run(check(started))


def test_without_a_database_the_start_fails_in_one_line(tmp_path: Path) -> None:
    """A bad port is refused at once; 30 s is the wall limit, so only the retry is awaited here."""

    async def check(replica: Process) -> None:
        async def retried() -> bool:
            return "ping postgres: retrying" in replica.log.read_text()

        await until(retried)
        replica.popen.terminate()
        assert await replica.exit_code() == 0
        assert "Traceback" not in replica.log.read_text()

    url = "postgres://nobody@127.0.0.1:1/none?sslmode=disable"
    with processes(1, url, tmp_path) as (replica,):
        asyncio.run(check(replica))
