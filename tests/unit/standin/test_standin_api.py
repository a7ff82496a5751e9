import asyncio
from typing import Any
from uuid import uuid4

from standin_lab import PASSWORD, Site, site, until

NOT_FOUND = "Resource not found or you do not have access to this resource"
SIGNED_OUT = "You are signed out or your session has expired. Please sign in again to continue."


async def _expect(client: Any, table: list[tuple[Any, ...]]) -> None:
    for method, path, body, status, *text in table:
        more = {} if body is None else {"json": body}
        response = await client.call(method, path, **more)
        assert response.status_code == status, (method, path, response.status_code, response.text)
        assert response.headers["X-Coder-Build-Version"].startswith("v2.")
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        for part in text:
            assert part in response.text, (method, path, response.text)


def test_what_needs_no_token(database: str) -> None:
    async def check() -> None:
        async with site(database) as up:
            nobody = up.owner.with_token("")
            table = [
                ("GET", "/healthz", None, 200, "OK"),
                ("GET", "/latency-check", None, 200, "OK"),
                ("GET", "/derp/latency-check", None, 200),
                ("GET", "/api/v2/", None, 200, "message"),
                ("GET", "/api/v2/buildinfo", None, 200, '"deployment_id"', '"workspace_proxy":false'),
                ("GET", "/api/v2/appearance", None, 200),
                ("GET", "/api/v2/updatecheck", None, 200, '"current":true'),
                ("GET", "/api/v2/users/authmethods", None, 200, '"password":{"enabled":true}'),
                ("GET", "/api/v2/users/first", None, 200),
                ("GET", "/api/v2/nothing", None, 404, "Route not found."),
                ("GET", "/some/page", None, 200, "<!doctype html>"),
                ("GET", "/api/v2/users/me", None, 401, SIGNED_OUT),
                ("POST", "/api/v2/users/login", {"email": "owner@example.com", "password": "wrong"}, 401, "Incorrect"),
                ("POST", "/api/v2/users/login", {"email": "owner@example.com"}, 400, "Validation failed.", "required"),
            ]
            await _expect(nobody, table)
            for token in ("short", "0123456789-0123456789012345678901", up.owner.token[:-1] + "_"):
                response = await up.owner.with_token(token).api("GET", "/users/me")
                assert response.status_code == 401
                assert response.json()["message"] == SIGNED_OUT

    asyncio.run(check())


def test_the_table_of_an_owner(database: str) -> None:
    async def check() -> None:
        async with site(database) as up:
            workspace, other = await up.workspace("one"), str(uuid4())
            user = {"username": "bob", "email": "bob@example.com", "password": PASSWORD}
            table = [
                ("POST", "/api/v2/users/first", user, 409),
                ("POST", "/api/v2/users", {"username": "b o b"}, 400, '"field":"username"', '"field":"email"'),
                ("POST", "/api/v2/users", user | {"password": "weak"}, 400, '"field":"password"'),
                ("POST", "/api/v2/users", user, 201, '"status":"dormant"'),
                ("POST", "/api/v2/users", user, 409),
                ("GET", "/api/v2/users?q=bob", None, 200, '"count":1'),
                ("GET", "/api/v2/users?q=x:1", None, 400, "validations"),
                ("GET", "/api/v2/users/bob", None, 200, "bob@example.com"),
                ("GET", f"/api/v2/users/{other}", None, 404, NOT_FOUND),
                ("GET", "/api/v2/users/me/organizations", None, 200, '"is_default":true'),
                ("GET", "/api/v2/organizations/default", None, 200, '"is_default":true'),
                ("GET", "/api/v2/organizations/none", None, 404, NOT_FOUND),
                ("POST", "/api/v2/users/me/keys", None, 201, "key"),
                ("POST", "/api/v2/users/me/keys/tokens", {"token_name": "t", "lifetime": 3600 * 10**9}, 201, "key"),
                ("POST", "/api/v2/users/me/keys/tokens", {"token_name": "t"}, 409),
                ("GET", "/api/v2/users/me/keys/tokens", None, 200, '"lifetime_seconds":3600'),
                ("DELETE", "/api/v2/users/me/keys/nothing", None, 404, NOT_FOUND),
                ("GET", "/api/v2/templates", None, 200, '"name":"plain"', '"active_user_count":-1'),
                ("GET", "/api/v2/organizations/default/templates/plain", None, 200),
                ("GET", f"/api/v2/templates/{up.template}", None, 200),
                ("GET", f"/api/v2/templates/{other}", None, 404, NOT_FOUND),
                ("GET", f"/api/v2/templateversions/{other}", None, 404, NOT_FOUND),
                ("GET", f"/api/v2/workspaces/{workspace}", None, 200, '"status":"running"', '"build_number":1'),
                ("GET", f"/api/v2/workspaces/{other}", None, 404, NOT_FOUND),
                ("GET", "/api/v2/workspaces/nonsense", None, 400, "Invalid UUID"),
                ("GET", "/api/v2/users/me/workspace/one", None, 200),
                ("GET", "/api/v2/workspaces?q=owner:me%20status:running&limit=25", None, 200, '"count":1'),
                ("GET", "/api/v2/workspaces?q=name:two", None, 200, '"count":0'),
                ("GET", "/api/v2/workspaces?q=colour:red", None, 400, '"field":"colour"'),
                ("GET", "/api/v2/workspaces?limit=x", None, 400, "Query parameters have invalid values."),
                ("GET", f"/api/v2/workspaces/{workspace}/builds", None, 200, '"build_number":1'),
                ("GET", f"/api/v2/workspacebuilds/{other}", None, 404, NOT_FOUND),
                ("POST", "/api/v2/users/me/workspaces", {"name": "one", "template_id": up.template}, 409, '"name"'),
                ("POST", "/api/v2/users/me/workspaces", {"name": "two"}, 400, "Validation failed."),
                ("POST", "/api/v2/users/me/workspaces", {"name": "two", "template_id": other}, 400),
                ("POST", f"/api/v2/workspaces/{workspace}/builds", {"transition": "fly"}, 400, "oneof"),
                ("POST", f"/api/v2/workspaces/{other}/builds", {"transition": "stop"}, 404, NOT_FOUND),
                ("GET", "/api/v2/replicas", None, 200, '"database_latency"'),
                (
                    "GET",
                    "/api/v2/entitlements",
                    None,
                    200,
                    '"high_availability":{"entitlement":"entitled","enabled":true}',
                ),
                ("GET", "/api/v2/experiments", None, 200, "[]"),
                ("GET", "/api/v2/regions", None, 200, '"name":"primary"'),
                ("GET", "/api/v2/deployment/stats", None, 200, '"collected_at"'),
                ("GET", "/api/v2/deployment/config", None, 200, '"pg_connection_url":""'),
                ("GET", "/api/v2/notifications/inbox", None, 200, '"unread_count":0'),
                ("GET", "/api/v2/workspace-quota/me", None, 200, '"budget":-1'),
                (
                    "POST",
                    "/api/v2/authcheck",
                    {"checks": {"a": {"object": {"resource_type": "user"}, "action": "read"}}},
                    200,
                    '{"a":true}',
                ),
                ("POST", "/api/v2/users/logout", None, 200),
                ("GET", "/api/v2/users/me", None, 401, "API key is invalid."),
            ]
            await _expect(up.owner, table)
            text = await up.owner.api("POST", "/users/login", content=b"{")
            assert (text.status_code, text.json()["message"]) == (400, "Request body must be valid JSON.")

    asyncio.run(check())


def test_deployment_stats_are_counted_now_and_then(database: str) -> None:
    async def check() -> None:
        async with site(database, scale=0.02) as up:
            await up.workspace("one")

            async def counted() -> bool:
                return bool((await up.owner.get("/deployment/stats"))["workspaces"]["running"] == 1)

            await until(counted)

    asyncio.run(check())


def test_a_deployment_without_daemons_is_not_healthy(database: str) -> None:
    async def check() -> None:
        async with site(database, threshold_database=5.0) as up:
            await up.replicas[0].services.db.value("DELETE FROM provisioner_daemons")
            report = await up.owner.get("/debug/health?force=true")
            assert report["provisioner_daemons"]["error"].startswith("EPD01")
            assert (report["severity"], report["healthy"]) == ("error", False)

    asyncio.run(check())


async def _member(up: Site) -> Any:
    user = {"username": "bob", "email": "bob@example.com", "password": PASSWORD}
    await up.owner.post("/users", user)
    session = await up.owner.post("/users/login", {"email": user["email"], "password": PASSWORD})
    return up.owner.with_token(session["session_token"])


def test_what_a_member_may_not(database: str) -> None:
    async def check() -> None:
        async with site(database) as up:
            workspace, member = await up.workspace("one"), await _member(up)
            table = [
                ("GET", "/api/v2/users/me", None, 200, '"status":"active"'),
                ("GET", "/api/v2/users/owner", None, 404, NOT_FOUND),
                ("GET", "/api/v2/users", None, 403, '{"message":"Forbidden."}'),
                ("GET", "/api/v2/debug/health", None, 403, "Forbidden."),
                ("GET", "/api/v2/replicas", None, 404, NOT_FOUND),
                ("GET", f"/api/v2/workspaces/{workspace}", None, 404, NOT_FOUND),
                ("GET", "/api/v2/workspaces", None, 200, '"count":0'),
                ("POST", f"/api/v2/workspaces/{workspace}/builds", {"transition": "stop"}, 404),
                ("POST", "/api/v2/users/me/workspaces", {"name": "own", "template_id": up.template}, 201),
            ]
            await _expect(member, table)
            bypass = {"X-Coder-Bypass-Ratelimit": "true"}
            assert (await member.api("GET", "/users/me", headers=bypass)).status_code == 428
            assert (await up.owner.api("GET", "/users/me", headers=bypass)).status_code == 200

    asyncio.run(check())


def test_builds_are_numbered_and_exclude_each_other(database: str) -> None:
    async def check() -> None:
        async with site(database, count=2, scale=0.2) as up:
            workspace = await up.workspace("one", ready=False)
            busy = await up.client(1).api("POST", f"/workspaces/{workspace}/builds", json={"transition": "stop"})
            assert (busy.status_code, busy.json()["message"]) == (409, "A workspace build is already active.")
            first = await up.settled(workspace)
            assert first["latest_build"]["job"]["status"] == "succeeded"
            posts = [
                up.client(index % 2).api("POST", f"/workspaces/{workspace}/builds", json={"transition": "stop"})
                for index in range(6)
            ]
            codes = sorted(response.status_code for response in await asyncio.gather(*posts))
            assert codes == [201, 409, 409, 409, 409, 409]
            stopped = await up.settled(workspace, "stopped")
            assert stopped["latest_build"]["build_number"] == 2
            assert stopped["latest_build"]["updated_at"] > first["latest_build"]["updated_at"]
            await up.owner.post(f"/workspaces/{workspace}/builds", {"transition": "delete"})
            await up.settled(workspace, "deleted")
            assert (await up.owner.api("GET", f"/workspaces/{workspace}")).status_code == 410
            assert (await up.owner.get("/workspaces"))["count"] == 0
            await up.workspace("one")

    asyncio.run(check())


def test_what_is_in_use_is_not_deleted(database: str) -> None:
    async def check() -> None:
        async with site(database, scale=0.2) as up:
            member, own = await _member(up), {"name": "own", "template_id": up.template}
            name = (await member.get("/users/me"))["username"]
            workspace = (await member.post("/users/me/workspaces", own))["id"]
            await up.settled(workspace)
            table = [
                ("DELETE", f"/api/v2/users/{name}", None, 417, "has workspaces"),
                ("DELETE", f"/api/v2/templates/{up.template}", None, 400, "All workspaces must be deleted"),
                ("DELETE", "/api/v2/users/me", None, 403, "You cannot delete yourself!"),
            ]
            await _expect(up.owner, table)
            assert (await member.api("GET", "/users/me")).status_code == 200
            await up.owner.post(f"/workspaces/{workspace}/builds", {"transition": "delete"})
            await up.settled(workspace, "deleted")
            gone = [
                ("DELETE", f"/api/v2/users/{name}", None, 200, "User has been deleted!"),
                ("DELETE", f"/api/v2/users/{name}", None, 404, NOT_FOUND),
                ("DELETE", f"/api/v2/templates/{up.template}", None, 200, "Template has been deleted!"),
                ("GET", f"/api/v2/templates/{up.template}", None, 404, NOT_FOUND),
                ("DELETE", f"/api/v2/templates/{up.template}", None, 404, NOT_FOUND),
                ("POST", "/api/v2/users/me/workspaces", own, 400),
            ]
            await _expect(up.owner, gone)
            assert (await member.api("GET", "/users/me")).status_code == 401, "its keys went with it"
            assert [user["username"] for user in (await up.owner.get("/users"))["users"]] == ["owner"]
            assert await up.owner.get("/templates") == []

    asyncio.run(check())


def test_files_are_stored_once(database: str) -> None:
    async def check() -> None:
        async with site(database) as up:
            tar = {"Content-Type": "application/x-tar"}
            new = await up.owner.api("POST", "/files", content=b"other", headers=tar)
            again = await up.owner.api("POST", "/files", content=b"other", headers=tar)
            assert (new.status_code, again.status_code) == (201, 200)
            assert new.json() == again.json()
            text = await up.owner.api("POST", "/files", content=b"x", headers={"Content-Type": "text/plain"})
            assert text.status_code == 400

    asyncio.run(check())


def test_ways_to_carry_a_token(database: str) -> None:
    async def check() -> None:
        async with site(database) as up:
            nobody, token = up.owner.with_token(""), up.owner.token
            for headers in ({"Authorization": f"Bearer {token}"}, {"Cookie": f"coder_session_token={token}"}):
                assert (await nobody.api("GET", "/users/me", headers=headers)).status_code == 200
            assert (await nobody.api("GET", f"/users/me?coder_session_token={token}")).status_code == 200
            cookie = {"Cookie": f"coder_session_token={token}"}
            forged = await nobody.api("POST", "/users/me/keys", headers=cookie)
            assert (forged.status_code, forged.text[:33]) == (400, "Something is wrong with your CSRF")
            login = {"email": "owner@example.com", "password": PASSWORD}
            assert (await nobody.api("POST", "/users/login", headers=cookie, json=login)).status_code == 400
            vouched = {"Cookie": f"coder_session_token={token}; csrf_token=abc", "X-CSRF-TOKEN": "abc"}
            assert (await nobody.api("POST", "/users/login", headers=vouched, json=login)).status_code == 201
            both = cookie | {"Coder-Session-Token": token}
            assert (await nobody.api("POST", "/users/me/keys", headers=both)).status_code == 201

    asyncio.run(check())


def test_rate_limit_answers_429(database: str) -> None:
    async def check() -> None:
        async with site(database, rate_limit=20) as up:
            seen = [await up.owner.api("GET", "/experiments") for _ in range(21)]
            assert seen[0].headers["X-RateLimit-Limit"] == "20"
            assert seen[-1].status_code in {200, 429}  # 200 only if the minute turned meanwhile

            async def limited() -> Any:
                response = await up.owner.api("GET", "/experiments")
                return response if response.status_code == 429 else None

            response = await until(limited)
            assert response.json()["message"].startswith("You've been rate limited for sending more than 20 requests")
            assert int(response.headers["Retry-After"]) <= 60

    asyncio.run(check())


def test_health_report(database: str) -> None:
    async def check() -> None:
        async with site(database, threshold_database=5.0) as up:
            report = await up.owner.get("/debug/health")
            assert (report["severity"], report["healthy"]) == ("ok", True)
            assert report["database"]["threshold_ms"] == 5000
            assert report["access_url"]["status_code"] == 200
            assert report["websocket"]["code"] == 101
            names = [item["provisioner_daemon"]["name"] for item in report["provisioner_daemons"]["items"]]
            assert sorted(names) == [f"{up.replicas[0].services.settings.hostname}-{number}" for number in range(3)]
            assert (await up.owner.get("/debug/health"))["time"] == report["time"]
            assert (await up.owner.get("/debug/health?force=true"))["time"] > report["time"]

    asyncio.run(check())


def test_slow_database_is_a_warning(database: str) -> None:
    async def check() -> None:
        async with site(database, threshold_database=0.0) as up:
            report = await up.owner.get("/debug/health?force=true")
            assert report["database"]["severity"] == "warning"
            assert report["database"]["warnings"][0]["code"] == "EDB02"
            assert (report["severity"], report["healthy"]) == ("warning", True)

    asyncio.run(check())
