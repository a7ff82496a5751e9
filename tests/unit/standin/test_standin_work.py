"""Queue, cancelling, settings of a workspace, and the audit log."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest
from standin_lab import Client, Site, site, slow_builds, until


async def _queue(up: Site, count: int) -> list[Any]:
    """Make workspaces of a deployment that builds one at a time; give their builds, in the order of the queue."""
    made = [await up.workspace(f"w{number}", ready=False) for number in range(count)]
    return [(await up.owner.get(f"/workspaces/{workspace}"))["latest_build"] for workspace in made]


def test_the_queue_has_positions_and_daemons(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    slow_builds(monkeypatch, 500)

    async def check() -> None:
        async with site(database, daemons=1, scale=0.2) as up:
            builds = await _queue(up, 4)
            ids = ",".join(build["job"]["id"] for build in builds)

            async def one_runs() -> Any:
                path = f"/organizations/default/provisionerjobs?ids={ids}"
                jobs = list(reversed(await up.owner.get(path)))
                return jobs if [job["status"] for job in jobs] == ["running"] + 3 * ["pending"] else None

            jobs = await until(one_runs)
            assert [(job["queue_position"], job["queue_size"]) for job in jobs] == [(0, 0), (1, 3), (2, 3), (3, 3)]
            (daemon,) = await up.owner.get("/organizations/default/provisionerdaemons")
            assert (daemon["status"], daemon["current_job"]["id"]) == ("busy", builds[0]["job"]["id"])
            assert jobs[0]["worker_id"] == daemon["id"]
            assert jobs[1]["available_workers"] == [daemon["id"]]
            assert jobs[1]["metadata"]["workspace_name"] == "w1"
            pending = await up.owner.get("/organizations/default/provisionerjobs?status=pending&limit=2")
            assert [job["id"] for job in pending] == [jobs[3]["id"], jobs[2]["id"]]
            answer = await up.owner.api("GET", "/organizations/default/provisionerjobs?status=flying")
            assert answer.status_code == 400
            for build in reversed(builds):
                assert (await up.owner.api("PATCH", f"/workspacebuilds/{build['id']}/cancel")).status_code == 200

    asyncio.run(check())


def test_a_build_is_canceled_at_once_when_pending_and_soon_when_running(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow_builds(monkeypatch, 500)

    async def check() -> None:
        async with site(database, daemons=1, scale=0.2) as up:
            running, pending = await _queue(up, 2)

            async def cancel(build: Any, query: str = "") -> tuple[int, str]:
                answer = await up.owner.api("PATCH", f"/workspacebuilds/{build['id']}/cancel{query}")
                return answer.status_code, answer.json()["message"]

            async def status(build: Any) -> str:
                return str((await up.owner.get(f"/workspacebuilds/{build['id']}"))["status"])

            async def starting() -> bool:
                return await status(running) == "starting"

            await until(starting)
            assert await cancel(running, "?expect_status=pending") == (412, "Job is not in the expected state.")
            assert (await cancel(running, "?expect_status=x"))[0] == 400
            assert (await cancel(pending, "?expect_status=pending"))[0] == 200
            assert await status(pending) == "canceled"
            assert await cancel(pending) == (400, "Job has already completed!")
            assert await cancel(running) == (200, "Job has been marked as canceled...")
            assert await status(running) in {"canceling", "canceled"}
            assert (await cancel(running))[0] == 400

            async def over() -> bool:
                return await status(running) == "canceled"

            await until(over)
            again = await up.owner.post(f"/workspaces/{running['workspace_id']}/builds", {"transition": "start"})
            assert again["build_number"] == 2
            await cancel(again)

    asyncio.run(check())


async def _put(client: Client, path: str, body: Any) -> int:
    return (await client.api("PUT", path, json=body)).status_code


def test_settings_of_a_workspace(database: str) -> None:
    async def check() -> None:
        async with site(database) as up:
            workspace = f"/workspaces/{await up.workspace('one')}"
            soon, late = (datetime.now(UTC) + timedelta(minutes=minutes) for minutes in (5, 90))
            table = [
                ("ttl", {"ttl_ms": 3_600_999}, 204, ("ttl_ms", 3_600_000)),
                ("ttl", {"ttl_ms": 1000}, 400, ("ttl_ms", 3_600_000)),
                ("ttl", {"ttl_ms": None}, 204, ("ttl_ms", None)),
                ("autostart", {"schedule": "CRON_TZ=US/Central 30 9 * * 1-5"}, 204, None),
                (
                    "autostart",
                    {"schedule": "every day"},
                    400,
                    ("autostart_schedule", "CRON_TZ=US/Central 30 9 * * 1-5"),
                ),
                ("autostart", {}, 204, ("autostart_schedule", None)),
                ("autoupdates", {"automatic_updates": "always"}, 204, ("automatic_updates", "always")),
                ("autoupdates", {"automatic_updates": "often"}, 400, ("automatic_updates", "always")),
                ("favorite", None, 204, ("favorite", True)),
                ("dormant", {"dormant": True}, 200, None),
                ("dormant", {"dormant": True}, 304, None),
                ("dormant", {"dormant": False}, 200, ("dormant_at", None)),
                ("extend", {"deadline": soon.isoformat()}, 400, None),
                ("extend", {"deadline": late.isoformat()}, 200, None),
            ]
            for name, body, status, field in table:
                assert await _put(up.owner, f"{workspace}/{name}", body) == status, (name, body)
                if field is not None:
                    assert (await up.owner.get(workspace)).get(field[0]) == field[1], (name, body)
            found = await up.owner.get(workspace)
            assert datetime.fromisoformat(found["latest_build"]["deadline"]) == late
            assert (await up.owner.api("DELETE", f"{workspace}/favorite")).status_code == 204
            assert (await up.owner.api("POST", f"{workspace}/usage")).status_code == 204
            used = await up.owner.get(workspace)
            assert (used["favorite"], used["last_used_at"] > found["last_used_at"]) == (False, True)
            await up.owner.post(f"{workspace}/builds", {"transition": "stop"})
            await up.settled(found["id"], "stopped")
            assert await _put(up.owner, f"{workspace}/extend", {"deadline": late.isoformat()}) == 409
            assert await _put(up.owner, "/users/me/appearance", {"theme_preference": "dark"}) == 200
            assert (await up.owner.get("/users/me/appearance"))["theme_preference"] == "dark"
            assert await _put(up.owner, "/users/me/preferences", {"task_notification_alert_dismissed": 1}) == 400

    asyncio.run(check())


def test_a_start_sets_the_deadline(database: str) -> None:
    async def check() -> None:
        async with site(database) as up:
            body = {"name": "one", "template_id": up.template, "ttl_ms": 3_600_000}
            made = await up.owner.post("/users/me/workspaces", body)
            build = (await up.settled(made["id"]))["latest_build"]
            left = datetime.fromisoformat(build["deadline"]) - datetime.fromisoformat(build["job"]["completed_at"])
            assert left == timedelta(hours=1)

    asyncio.run(check())


def test_the_audit_log_has_one_entry_each(database: str) -> None:
    async def check() -> None:
        async with site(database) as up:
            workspace = await up.workspace("one")
            await up.owner.post(f"/workspaces/{workspace}/builds", {"transition": "stop"})
            await up.settled(workspace, "stopped")
            taken = await up.owner.api("POST", "/users/me/workspaces", json={"name": "one", "template_id": up.template})
            assert taken.status_code == 409
            wrong = {"email": "owner@example.com", "password": "wrong"}
            assert (await up.owner.api("POST", "/users/login", json=wrong)).status_code == 401

            async def entries(query: str = "") -> list[tuple[Any, ...]]:
                listed = await up.owner.get(f"/audit?limit=50&q={query}")
                assert listed["count"] == len(listed["audit_logs"])
                return [
                    (entry["action"], entry["resource_type"], entry["status_code"]) for entry in listed["audit_logs"]
                ]

            async def builds_written() -> bool:
                return len(await entries("resource_type:workspace_build")) == 2

            await until(builds_written)
            assert sorted(await entries()) == [
                ("create", "template", 201),
                ("create", "template_version", 201),
                ("create", "user", 201),
                ("create", "workspace", 201),
                ("login", "api_key", 201),
                ("login", "api_key", 401),
                ("start", "workspace_build", 200),
                ("stop", "workspace_build", 200),
            ]
            assert await entries("action:create%20resource_target:one%20username:owner") == [
                ("create", "workspace", 201)
            ]
            today = datetime.now(UTC).date()
            assert len(await entries(f"date_from:{today - timedelta(days=1)}")) == 8
            assert await entries(f"date_to:{today - timedelta(days=1)}") == []
            assert (await up.owner.api("GET", "/audit?q=date_from:soon&limit=1")).status_code == 400
            page = await up.owner.get("/audit?limit=2&offset=1")
            assert (len(page["audit_logs"]), page["count"]) == (2, 8)
            assert (await up.owner.api("POST", "/audit/testgenerate")).status_code == 204
            assert len(await entries()) == 9

    asyncio.run(check())


def test_an_entry_that_cannot_be_written_changes_no_answer(database: str) -> None:
    async def check() -> None:
        async with site(database) as up:
            admin = await asyncpg.connect(database)
            try:
                await admin.execute("ALTER TABLE audit_logs RENAME TO gone")
                made = await up.owner.post("/users/me/workspaces", {"name": "one", "template_id": up.template})
                assert (await up.owner.api("POST", "/audit/testgenerate")).status_code == 500
                await admin.execute("ALTER TABLE gone RENAME TO audit_logs")
            finally:
                await admin.close()
            assert await up.settled(made["id"])
            assert (await up.owner.get("/audit?limit=9&q=resource_target:one"))["count"] == 0

    asyncio.run(check())
