"""The membership probe: asks a healthy replica who it believes its peers are, and records every change."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio

from harness.events import Event, Membership
from harness.stack import NoAnswer

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.stack import Stack


async def watch(
    stack: Stack, token: str, ask: Callable[[], str], emit: Callable[[Event], object], clock_ns: Callable[[], int]
) -> None:
    """Poll `/replicas` of the replica that `ask()` names, every server(0.25 s), until cancelled.

    A change happened after the request before the one that shows it began: that is the lower bound of its time.
    """
    last: dict[str, str] | None = None
    since = clock_ns()
    while True:
        began = clock_ns()
        members = await _members(stack, token, ask())
        if members is not None:
            if members != last:
                emit(Membership(since_ns=since, members=members))
                last = members
            since = began
        await anyio.sleep(0.25 * stack.time_scale)


async def _members(stack: Stack, token: str, name: str) -> dict[str, str] | None:
    try:
        answer = await stack.api(name).call("GET", "/replicas", token=token)
    except NoAnswer:
        return None
    if not answer.ok or not isinstance(answer.body, list):
        return None
    return {str(row["id"]): str(row["hostname"]) for row in answer.body}
