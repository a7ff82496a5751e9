"""For each row of the table of calls a request that succeeds, and the deployment it is sent to."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

import pytest
from coder_api import API, TOKEN_HEADER, Call
from standin_lab import slow_builds, until
from websockets.asyncio.client import connect

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    import httpx
    from standin_lab import Client, Site


@dataclass
class Sent:
    """What a row's example sends beside its method and path."""

    body: Any = None
    parts: dict[str, str] = field(default_factory=dict)
    query: str = ""
    client: Client | None = None


@dataclass
class World:
    """One replica with an owner, a member who can log in, a template and a workspace, on a loop of its own."""

    up: Site
    member: Client
    login: dict[str, str]
    parts: dict[str, str]
    """What stands for the parts of a path."""
    file_id: str
    run: Callable[[Coroutine[Any, Any, None]], None]

    def path(self, call: Call, parts: dict[str, str] | None = None) -> str:
        known = self.parts | (parts or {})
        return re.sub(r"\{([a-z]+)\}", lambda match: known[match[1]], call.path)

    async def send(self, call: Call, sent: Sent, client: Client | None = None) -> httpx.Response:
        more: dict[str, Any] = {}
        if isinstance(sent.body, bytes):
            more = {"content": sent.body, "headers": {"Content-Type": "application/x-tar"}}
        elif sent.body is not None:
            more = {"json": sent.body}
        chosen = client or sent.client or self.up.owner
        return await chosen.call(call.method, self.path(call, sent.parts) + sent.query, **more)

    def dial(self, call: Call, client: Client) -> connect:
        url = f"ws{client.base.removeprefix('http')}{self.path(call)}"
        headers = {TOKEN_HEADER: client.token} if client.token else {}
        return connect(url, additional_headers=headers, proxy=None)


def _name() -> str:
    return f"n{uuid4().hex[:12]}"


def _user() -> dict[str, Any]:
    name = _name()
    return {"username": name, "email": f"{name}@example.com", "login_type": "none", "user_status": "active"}


async def _first_user(_world: World) -> Sent:
    return Sent({"email": "x@example.com", "username": _name(), "password": _name(), "trial": False})


async def _login(world: World) -> Sent:
    return Sent(world.login)


async def _logout(world: World) -> Sent:
    owner = world.up.owner
    return Sent(client=owner.with_token((await owner.post("/users/me/keys", {}))["key"]))


async def _token(_world: World) -> Sent:
    return Sent({"token_name": _name(), "lifetime": 3600 * 10**9})


async def _list_tokens(world: World) -> Sent:
    await world.up.owner.post("/users/me/keys/tokens", {"token_name": _name()})
    return Sent()


async def _delete_key(world: World) -> Sent:
    key = (await world.up.owner.post("/users/me/keys", {}))["key"]
    return Sent(parts={"keyid": key.partition("-")[0]})


async def _version(world: World) -> Sent:
    return Sent({"storage_method": "file", "provisioner": "echo", "file_id": world.file_id, "name": _name()})


async def _template(world: World) -> Sent:
    owner = world.up.owner
    body = {"storage_method": "file", "provisioner": "echo", "file_id": world.file_id}
    version = (await owner.post("/organizations/default/templateversions", body))["id"]

    async def imported() -> bool:
        return bool((await owner.get(f"/templateversions/{version}"))["job"]["status"] == "succeeded")

    await until(imported)
    return Sent({"name": _name(), "template_version_id": version})


async def _workspace(world: World) -> Sent:
    return Sent({"name": _name(), "template_id": world.up.template})


async def _build(world: World) -> Sent:
    return Sent({"transition": "stop", "reason": "dashboard"}, {"workspace": await world.up.workspace(_name())})


async def _checks(_world: World) -> Sent:
    check = {"object": {"resource_type": "workspace", "any_org": True}, "action": "read"}
    return Sent({"checks": {"a": check, "b": check}})


async def _file(_world: World) -> Sent:
    return Sent(_name().encode())


async def _new_user(_world: World) -> Sent:
    return Sent(_user())


async def _delete_user(world: World) -> Sent:
    return Sent(parts={"user": (await world.up.owner.post("/users", _user()))["id"]})


async def _delete_template(world: World) -> Sent:
    made = await world.up.owner.post("/organizations/default/templates", (await _template(world)).body)
    return Sent(parts={"template": made["id"]})


async def _ttl(_world: World) -> Sent:
    return Sent({"ttl_ms": 3_600_000})


async def _schedule(_world: World) -> Sent:
    return Sent({"schedule": "CRON_TZ=US/Central 30 9 * * 1-5"})


async def _auto_updates(_world: World) -> Sent:
    return Sent({"automatic_updates": "always"})


async def _extend(_world: World) -> Sent:
    return Sent({"deadline": (datetime.now(UTC) + timedelta(hours=2)).isoformat()})


async def _dormant(world: World) -> Sent:
    return Sent({"dormant": True}, {"workspace": await world.up.workspace(_name())})


async def _theme(_world: World) -> Sent:
    return Sent({"theme_preference": "dark"})


async def _cancel(world: World) -> Sent:
    """A build that is under way for a second."""
    up = world.up
    with pytest.MonkeyPatch.context() as patch:
        slow_builds(patch, 25)
        workspace = await up.workspace(_name(), ready=False)
        build = (await up.owner.get(f"/workspaces/{workspace}"))["latest_build"]["id"]

        async def started() -> bool:
            return bool((await up.owner.get(f"/workspacebuilds/{build}"))["job"]["status"] == "running")

        await until(started)
    return Sent(parts={"workspacebuild": build})


async def _promote(world: World) -> Sent:
    return Sent({"id": world.parts["templateversion"]})


async def _job(world: World) -> Sent:
    build = await world.up.owner.get(f"/workspacebuilds/{world.parts['workspacebuild']}")
    return Sent(parts={"job": build["job"]["id"]})


async def _inbox(world: World) -> Sent:
    """Wait until the owner has heard of a workspace that the member made."""
    owner = world.up.owner
    if not (await owner.get("/notifications/inbox"))["notifications"]:
        await world.member.post("/users/me/workspaces", {"name": _name(), "template_id": world.up.template})

    async def told() -> Any:
        return (await owner.get("/notifications/inbox"))["notifications"]

    return Sent(parts={"id": (await until(told))[0]["id"]})


async def _report(world: World) -> Sent:
    """A report that has been made already."""
    await world.up.owner.get("/debug/health")
    return Sent()


async def _read(world: World) -> Sent:
    return Sent({"is_read": True}, (await _inbox(world)).parts)


EXAMPLES: Final[dict[str, Callable[[World], Awaitable[Sent]]]] = {
    "POST /users/first": _first_user,
    "POST /users/login": _login,
    "POST /users/logout": _logout,
    "POST /users": _new_user,
    "DELETE /users/{user}": _delete_user,
    "POST /users/{user}/keys/tokens": _token,
    "GET /users/{user}/keys/tokens": _list_tokens,
    "DELETE /users/{user}/keys/{keyid}": _delete_key,
    "POST /files": _file,
    "POST /organizations/{organization}/templateversions": _version,
    "POST /organizations/{organization}/templates": _template,
    "DELETE /templates/{template}": _delete_template,
    "POST /users/{user}/workspaces": _workspace,
    "POST /organizations/{organization}/members/{user}/workspaces": _workspace,
    "POST /workspaces/{workspace}/builds": _build,
    "POST /authcheck": _checks,
    "PUT /users/{user}/appearance": _theme,
    "PUT /workspaces/{workspace}/autostart": _schedule,
    "PUT /workspaces/{workspace}/ttl": _ttl,
    "PUT /workspaces/{workspace}/autoupdates": _auto_updates,
    "PUT /workspaces/{workspace}/extend": _extend,
    "PUT /workspaces/{workspace}/dormant": _dormant,
    "PATCH /workspacebuilds/{workspacebuild}/cancel": _cancel,
    "PATCH /templates/{template}/versions": _promote,
    "GET /organizations/{organization}/provisionerjobs/{job}": _job,
    "GET /debug/health": _report,
    "GET /notifications/inbox": _inbox,
    "PUT /notifications/inbox/{id}/read-status": _read,
}
"""What other rows send is their path, filled from the world."""


async def example(world: World, call: Call) -> Sent:
    """A request that the row's call answers with success; whatever it needs is made first."""
    make = EXAMPLES.get(call.name.replace(API, ""))
    return await make(world) if make else Sent()
