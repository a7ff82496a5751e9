"""Questions to a replica or a balancer while a stack comes up, the same for every stack."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.errors import HarnessError
from harness.stack import NoAnswer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from harness.stack import Api


async def serves(api: Api) -> bool:
    """Whether a replica answers a question that needs the database.

    `/api/v2/users/first` needs no token: 404 on an empty deployment, 200 on any other (codersdk/users.go).
    """
    try:
        return (await api.call("GET", "/users/first")).status in (200, 404)
    except NoAnswer:
        return False


def routing_to(api: Api, ports: set[int]) -> Callable[[], Awaitable[bool]]:
    """Give a check that asks a balancer once per call: whether every one of `ports` has answered well by now."""
    seen = set[int]()

    async def asked() -> bool:
        try:
            answer = await api.call("GET", "/buildinfo")
        except NoAnswer:
            return False
        if answer.ok and answer.upstream:
            seen.add(answer.upstream)
        return seen >= ports

    return asked


async def version_of(api: Api, name: str) -> str:
    """Version that the replica `name` reports; raises HarnessError where it reports none."""
    answer = await api.call("GET", "/buildinfo")
    if not isinstance(answer.body, dict) or "version" not in answer.body:
        raise HarnessError(f"{name}: /api/v2/buildinfo has no version: {str(answer.body)[:200]}")
    return str(answer.body["version"])
