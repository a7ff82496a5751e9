"""The final check of truth: which builds exist, by the API of a replica that was not hurt first, and by SQL."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness.events import Schema, Truth
from harness.stack import NoAnswer

if TYPE_CHECKING:
    from collections.abc import Iterable

    from harness.stack import Api, Stack

Builds = dict[str, dict[str, list[Any]]]

SQL = """
SELECT workspace_id::text, build_number::int, min(transition::text), count(*)::int
FROM workspace_builds WHERE workspace_id::text = ANY($1::text[]) GROUP BY 1, 2
"""
"""Table and columns as in Coder's own schema (coderd/database/dump.sql)."""
SCHEMA_SQL = "SELECT version::bigint, dirty FROM schema_migrations ORDER BY 1, 2"
"""The table of golang-migrate, which Coder uses: it has one row (coderd/database/migrations/migrate.go)."""
_TRIES = 20


async def by_api(api: Api, token: str, workspaces: Iterable[str], name: str) -> Truth:
    """Read every workspace's builds from one replica; one that does not exist has none."""
    builds: Builds = {}
    for workspace in sorted(workspaces):
        rows = builds.setdefault(workspace, {})
        for build in await _builds(api, token, workspace):
            row = rows.setdefault(str(build["build_number"]), [build["transition"], 0])
            row[1] += 1
    return Truth(by=f"the API of {name}", builds=builds)


async def by_sql(stack: Stack, workspaces: Iterable[str]) -> Truth | None:
    """Read the same from the database; None where the backend has no access to it."""
    names = sorted(workspaces)
    rows = await stack.sql(SQL, names)
    if rows is None:
        return None
    builds: Builds = {name: {} for name in names}
    for workspace, number, transition, count in rows:
        builds[workspace][str(number)] = [transition, count]
    return Truth(by="SQL", builds=builds)


async def schema(stack: Stack, when: str) -> Schema | None:
    """Read the migration table from the database; None where the backend has no access to it."""
    rows = await stack.sql(SCHEMA_SQL)
    return None if rows is None else Schema(when=when, rows=[[version, dirty] for version, dirty in rows])


async def _builds(api: Api, token: str, workspace: str) -> list[dict[str, Any]]:
    seen = "nothing"
    for _ in range(_TRIES):
        try:
            answer = await api.call("GET", f"/workspaces/{workspace}/builds", token=token)
        except NoAnswer as error:
            seen = str(error)
            continue
        if answer.ok and isinstance(answer.body, list):
            return answer.body
        if answer.status == 404:
            return []
        seen = f"{answer.status} {str(answer.body)[:200]}"
    raise NoAnswer(f"the builds of workspace {workspace} cannot be read: {seen}")
