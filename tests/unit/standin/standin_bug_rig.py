"""Replicas with one seeded bug on."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from standin import requestlock
from standin_lab import PASSWORD, Site, site


def only(bug: str) -> frozenset[str]:
    return frozenset({bug} - {""})


def run_with(url: str, bug: str, check: Callable[[Site], Coroutine[Any, Any, None]], **more: Any) -> None:
    """Run ``check`` on replicas with one bug; the lock's holding time counts only once all is set up."""

    async def inside() -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(requestlock, "_HOLD_SECONDS", 0.0)
            async with site(url, bugs=only(bug), **more) as up:
                patch.undo()
                await check(up)

    asyncio.run(inside())


async def calm(up: Site) -> None:
    """Sixty requests in one second over three replicas, with builds and logins among them; none may fail."""
    made = [
        await up.owner.post("/users/me/workspaces", {"name": f"w{n}", "template_id": up.template}) for n in range(3)
    ]
    codes: list[int] = []

    async def one(number: int) -> None:
        await asyncio.sleep(number / 60)
        client, workspace = up.client(number % 3), made[number // 12 % 3]["id"]
        if number % 12 == 0:
            response = await client.api("POST", f"/workspaces/{workspace}/builds", json={"transition": "stop"})
        elif number % 12 == 1:
            response = await client.api(
                "POST", "/users/login", json={"email": "owner@example.com", "password": PASSWORD}
            )
        else:
            response = await client.api("GET", "/workspaces" if number % 2 else "/users/me")
        codes.append(response.status_code)

    await asyncio.gather(*(one(number) for number in range(60)))
    assert max(codes) < 500, codes
