"""Bootstrap: make a fresh deployment usable through its API, as an admin would: first user, template, users, workspaces.

Every name carries the run's id. Creates answer 201 although the API document says 200: both are taken.
"""

from __future__ import annotations

import io
import secrets
import tarfile
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import anyio

from harness.errors import NotReady, StackError
from harness.stack import Answer, NoAnswer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from harness.stack import Api

_TERMINAL = ("succeeded", "failed", "canceled")
_JOB_S = 30.0
_CREATED = (200, 201)
_AT_ONCE = 4
_OWNERS = 12
"""Users of the load with a workspace of their own. Each costs a build at the start, so a larger load has no more."""


@dataclass(frozen=True)
class Owner:
    """The first user of a deployment: made once, and there as long as its stack. The password is kept in memory only.

    Of a deployment that is not ours, an owner with a `token` and without a password.
    """

    email: str
    username: str
    password: str
    token: str = ""


@dataclass(frozen=True)
class World:
    """What was made: the owner's session token, one token per load user, the template, the watched workspaces."""

    owner: Owner
    admin: str
    user_tokens: list[str]
    template: str
    workspaces: list[str]


async def bootstrap(
    api: Api, run: str, users: int, workspaces: int, owner: Owner | None = None, *, licence: str = ""
) -> World:
    """Make the world; raises StackError naming the call and the answer that was not as expected.

    `owner` is that of a stack that served a run before; a deployment without one gets its first user, and the `licence`.
    NotReady when it refuses that.
    """
    owner = owner or await _first_user(api, run)
    admin = owner.token or await _login(api, owner)
    if licence:
        await add_licence(api, admin, licence)
    orgs = await _call(api, "GET", "/organizations", token=admin, expect=(200,))
    org = str(orgs[0]["id"])
    template = await _template(api, admin, org, run)
    tokens = await _side_by_side(users, lambda number: _user(api, admin, org, run, number))
    made = await _side_by_side(
        workspaces, lambda number: create_workspace(api, admin, template, f"chaos-{run}-{number}")
    )
    # Users of the load look at their own workspaces, and some build: `load-K` is the name by which user K knows its own.
    # Nobody waits for these: their first builds are as good a load as any.
    own = tokens[:_OWNERS]
    await _side_by_side(len(own), lambda number: create_workspace(api, own[number], template, f"load-{number}-{run}"))
    for workspace in made:
        await _until_built(api, admin, f"/workspaces/{workspace}", ("latest_build", "job"))
    return World(owner, admin, tokens, template, made)


async def add_licence(api: Api, token: str, text: str) -> None:
    """Upload a licence; raises NotReady when the deployment refuses it (enterprise/coderd/licenses.go: 201 on success)."""
    try:
        answer = await api.call("POST", "/licenses", {"license": text.strip()}, token=token)
    except NoAnswer as error:
        raise StackError(f"bootstrap: {error}") from error
    if answer.status not in _CREATED:
        said = answer.body.get("message") if isinstance(answer.body, dict) else str(answer.body)[:200]
        raise NotReady(
            f"the licence was refused with {answer.status}: {said}; this build may take none (AGPL answers 404)"
        )


async def lacks_high_availability(api: Api, token: str) -> str:
    """Why replicas do not mesh, one line; empty where they do. An AGPL build has no entitlements at all."""
    try:
        answer = await api.call("GET", "/entitlements", token=token)
    except NoAnswer as error:
        return f"entitlements could not be read: {error}"
    if not answer.ok or not isinstance(answer.body, dict):
        return f"/entitlements answers {answer.status}: no enterprise build"
    feature = answer.body.get("features", {}).get("high_availability", {})
    if feature.get("enabled"):
        return ""
    return (
        f"high_availability is {feature.get('entitlement', 'unknown')}{'; '.join(['', *answer.body.get('errors', [])])}"
    )


async def owner_of(api: Api, token: str) -> Owner:
    """Whose token it is, on a deployment that is not ours; raises StackError when it is nobody's."""
    me = await _call(api, "GET", "/users/me", token=token, expect=(200,))
    return Owner(str(me["email"]), str(me["username"]), "", token)


async def _login(api: Api, owner: Owner) -> str:
    login = await _call(api, "POST", "/users/login", {"email": owner.email, "password": owner.password})
    return str(login["session_token"])


async def _side_by_side(count: int, make: Callable[[int], Awaitable[str]]) -> list[str]:
    """Make `count` of a kind, a few at once, and give what each gave, in order; a StackError as if it were made alone."""
    made, errors = [""] * count, []

    async def every(first: int) -> None:
        try:
            for number in range(first, count, _AT_ONCE):
                made[number] = await make(number)
        except StackError as error:
            errors.append(error)
            tasks.cancel_scope.cancel()

    async with anyio.create_task_group() as tasks:
        for first in range(_AT_ONCE):
            tasks.start_soon(every, first)
    if errors:
        raise errors[0]
    return made


async def _first_user(api: Api, run: str) -> Owner:
    # Generated per stack and forgotten with it; the class mix satisfies any password policy.
    owner = Owner(f"admin-{run}@chaos.invalid", f"chaos-{run}-admin", f"Ch4os!{secrets.token_urlsafe(18)}")
    await _call(api, "POST", "/users/first", _shown(owner) | {"trial": False})
    return owner


def _shown(owner: Owner) -> dict[str, str]:
    return {key: value for key, value in asdict(owner).items() if key != "token"}


async def create_workspace(api: Api, token: str, template: str, name: str) -> str:
    """Create one workspace and return its id; its first build is queued."""
    body = {"name": name, "template_id": template}
    return str((await _call(api, "POST", "/users/me/workspaces", body, token=token))["id"])


async def _template(api: Api, token: str, org: str, run: str) -> str:
    file = await _call(api, "POST", "/files", _tar(), token=token)
    version = {"storage_method": "file", "file_id": file["hash"], "provisioner": "echo", "name": f"chaos-{run}"}
    made = await _call(api, "POST", f"/organizations/{org}/templateversions", version, token=token)
    await _until_built(api, token, f"/templateversions/{made['id']}", ("job",))
    template = {"name": f"chaos-{run}", "template_version_id": made["id"]}
    return str((await _call(api, "POST", f"/organizations/{org}/templates", template, token=token))["id"])


async def _user(api: Api, admin: str, org: str, run: str, number: int) -> str:
    name = f"chaos-{run}-u{number}"
    user = {"username": name, "email": f"{name}@chaos.invalid", "login_type": "none", "organization_ids": [org]}
    made = await _call(api, "POST", "/users", user | {"user_status": "active"}, token=admin)
    key = {"token_name": name, "lifetime": 24 * 3600 * 1_000_000_000}
    return str((await _call(api, "POST", f"/users/{made['id']}/keys/tokens", key, token=admin))["key"])


async def _until_built(api: Api, token: str, path: str, where: tuple[str, ...]) -> None:
    status = "?"
    with anyio.move_on_after(_JOB_S):
        while True:
            # A 404 is not the end: who acknowledges a create before it is stored shall be judged, not refused.
            body: Any = await _call(api, "GET", path, token=token, expect=(200, 404))
            for key in where:
                body = body.get(key, {})
            status = body.get("status", "absent")
            if status in _TERMINAL:
                break
            await anyio.sleep(0.1)
    if status != "succeeded":
        raise StackError(f"bootstrap: the job of {path} is {status!r} after {_JOB_S:g} s, expected succeeded")


async def _call(
    api: Api, method: str, path: str, body: Any = None, *, token: str | None = None, expect: tuple[int, ...] = _CREATED
) -> Any:
    try:
        answer: Answer = await api.call(method, path, body, token=token)
    except NoAnswer as error:
        raise StackError(f"bootstrap: {error}") from error
    if answer.status not in expect:
        raise StackError(f"bootstrap: {method} {path} answered {answer.status}: {str(answer.body)[:300]}")
    return answer.body


def _tar() -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        text = b"coder-chaos test template\n"
        info = tarfile.TarInfo("README.md")
        info.size = len(text)
        tar.addfile(info, io.BytesIO(text))
    return out.getvalue()
