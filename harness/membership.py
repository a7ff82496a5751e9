"""The membership probe: asks a healthy replica whom it believes its peers to be, and records every change."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio

from harness.events import Event, Membership, ReplicaLatency
from harness.stack import NoAnswer

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.stack import Stack

_LEAST_US = 5_000
"""A database nearer than that is near: what moves below is no news."""


async def watch(
    stack: Stack, token: str, ask: Callable[[], str], emit: Callable[[Event], object], clock_ns: Callable[[], int]
) -> None:
    """Poll `/replicas` of the replica that `ask()` names, every server(0.25 s), until cancelled.

    A change happened after the request before the one that shows it began: that is the lower bound of its time.
    """

    def name_of(row: dict[str, Any]) -> str:
        hostname = str(row["hostname"])
        return stack.hostnames.get(hostname, hostname)

    last: dict[str, str] | None = None
    told: dict[str, int] | None = None
    since = clock_ns()
    while True:
        began = clock_ns()
        rows = await _rows(stack, token, ask())
        if rows is not None:
            members = {str(row["id"]): name_of(row) for row in rows}
            if members != last:
                emit(Membership(since_ns=since, members=members))
                last = members
            latency = {name_of(row): int(row.get("database_latency") or 0) for row in rows}
            news = {name: max(us, _LEAST_US) for name, us in latency.items()}
            if news != told:
                emit(ReplicaLatency(since_ns=since, us=latency))
                told = news
            since = began
        await anyio.sleep(0.25 * stack.time_scale)


async def _rows(stack: Stack, token: str, name: str) -> list[dict[str, Any]] | None:
    try:
        answer = await stack.api(name).call("GET", "/replicas", token=token)
    except NoAnswer:
        return None
    return answer.body if answer.ok and isinstance(answer.body, list) else None
