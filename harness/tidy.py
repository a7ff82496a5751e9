"""Tidying up: what a run made in its deployment is removed through the API, as an admin would, before another run comes.

The deployment's first user stays: it belongs to the stack, not to the run. So does what Coder itself keeps of what was
deleted (rows marked as deleted, finished jobs, the audit log, uploaded files, which are stored by their content).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio

from harness.errors import StackError
from harness.stack import Answer, NoAnswer
from harness.truth import SCHEMA_SQL

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from harness.bootstrap import Owner
    from harness.stack import Api, Stack

LEFT = """
SELECT 'workspace ' || name FROM workspaces WHERE NOT deleted AND strpos(name, $1) > 0
UNION ALL SELECT 'template ' || name FROM templates WHERE NOT deleted AND strpos(name, $1) > 0
UNION ALL SELECT 'user ' || username FROM users WHERE NOT deleted AND strpos(username, $1) > 0 AND username <> $2
"""
"""Tables and columns as in Coder's own schema (coderd/database/dump.sql)."""
_GONE = (404, 410)
_FAILED = ("failed", "canceled")
_POLL_S = 0.1
_PAGE = 100
_AT_ONCE = 8
_PATIENCE_S = 15.0
"""For all workspaces, their turns in the provisioners' queue included."""
_STALLED_S = 3.0
"""Without one that goes. A build whose provisioner died keeps its workspace for minutes (coderd/jobreaper): a fresh stack is
there sooner."""


async def tidy(stack: Stack, token: str, owner: Owner, run: str) -> str:
    """Remove workspaces, the template and users that bear the run's id; end the owner's session; say what was removed.

    Raises StackError naming the first thing that could not be removed, or that is there all the same.
    """
    api = stack.api("balancer")
    workspaces = await _workspaces(api, token, run)
    templates = [t for t in await _ask(api, token, "GET", "/templates") if run in t["name"]]
    for template in templates:
        await _ask(api, token, "DELETE", f"/templates/{template['id']}")
    users = [u for u in await _all(api, token, "users") if run in u["username"] and u["username"] != owner.username]
    await _each(users, lambda u: _ask(api, token, "DELETE", f"/users/{u['id']}"))
    await _ask(api, token, "PUT", "/notifications/inbox/mark-all-as-read")
    if not owner.token:  # else the session is not ours to end
        await _ask(api, token, "POST", "/users/logout")
    left = await stack.sql(LEFT, run, owner.username)
    if left:
        raise StackError(f"{left[0][0]} is still in the database{f', and {len(left) - 1} more' if left[1:] else ''}")
    return f"removed {workspaces} workspaces, {len(templates)} template, {len(users)} users"


async def schema(stack: Stack) -> str | None:
    """Say what is wrong with the schema; None when it is clean, or nobody can say."""
    rows = await stack.sql(SCHEMA_SQL)
    if rows is None:
        return None
    dirty = [f"version {version}" for version, dirty in rows if dirty]
    return f"the schema is dirty at {', '.join(dirty)}" if dirty else None if rows else "the schema has no version"


async def _workspaces(api: Api, token: str, run: str) -> int:
    """Delete all workspaces of the run, and return how many; raises StackError naming one that is still there."""
    asked: set[str] = set()
    left: list[dict[str, Any]] = []

    async def delete(workspace: dict[str, Any]) -> None:
        answer = await _call(api, token, "POST", f"/workspaces/{workspace['id']}/builds", {"transition": "delete"})
        if answer.ok:
            asked.add(workspace["id"])
        elif answer.status not in (*_GONE, 409):  # 409: a build is under way, so later
            raise StackError(f"workspace {workspace['name']}: {answer.status} {_message(answer)}")

    fewest, moved = 0, anyio.current_time()
    with anyio.move_on_after(_PATIENCE_S):
        while left := [w for w in await _all(api, token, "workspaces") if run in w["name"]]:
            await _each([w for w in left if w["id"] not in asked], delete)
            failed = [w for w in left if w["id"] in asked and w["latest_build"]["job"]["status"] in _FAILED]
            if not fewest or len(left) < fewest:
                fewest, moved = len(left), anyio.current_time()
            if failed or anyio.current_time() - moved > _STALLED_S:
                break
            await anyio.sleep(_POLL_S)
        if not left:
            return len(asked)
    build = left[0]["latest_build"]
    raise StackError(
        f"workspace {left[0]['name']} could not be deleted: its {build['transition']} is {build['job']['status']}"
    )


async def _all(api: Api, token: str, what: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    while True:
        page = await _ask(api, token, "GET", f"/{what}?limit={_PAGE}&offset={len(found)}")
        found += page[what]
        if not page[what] or len(found) >= page["count"]:
            return found


async def _each(items: Iterable[dict[str, Any]], do: Callable[[dict[str, Any]], Awaitable[Any]]) -> None:
    """Do it to some at a time; the first error ends it all."""
    todo, failed = list(items), list[StackError]()

    async def work() -> None:
        while todo and not failed:
            try:
                await do(todo.pop())
            except StackError as error:
                failed.append(error)

    async with anyio.create_task_group() as tasks:
        for _ in range(_AT_ONCE):
            tasks.start_soon(work)
    if failed:
        raise failed[0]


async def _ask(api: Api, token: str, method: str, path: str) -> Any:
    answer = await _call(api, token, method, path)
    if not answer.ok:
        raise StackError(f"{method} {path} answered {answer.status}: {_message(answer)}")
    return answer.body


async def _call(api: Api, token: str, method: str, path: str, body: Any = None) -> Answer:
    try:
        return await api.call(method, path, body, token=token)
    except NoAnswer as error:
        raise StackError(str(error)) from error


def _message(answer: Answer) -> str:
    return str(answer.body.get("message", answer.body) if isinstance(answer.body, dict) else answer.body)[:200]
