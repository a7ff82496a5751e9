"""Watches the containers of a stack: their output goes into the run directory while it comes, their ends are told."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread

from harness import events as ev
from harness.clients.follower import Deaths, Follower

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from harness.clients.docker import Docker
    from harness.containers.target import Container
    from harness.local.process import Site


@asynccontextmanager
async def following(docker: Docker, site: Site, targets: Sequence[Container]) -> AsyncIterator[None]:
    """Append what the containers say to the run's logs; on leaving, what they said last is written."""
    followers = [Follower(docker, t.member.container, site.logs.path(t.name)) for t in targets]
    try:
        yield
    finally:
        with anyio.CancelScope(shield=True):
            for follower in followers:
                await anyio.to_thread.run_sync(follower.stop)


@asynccontextmanager
async def told(
    docker: Docker, project: str, targets: Sequence[Container], tell: Callable[[ev.Event], None]
) -> AsyncIterator[None]:
    """Tell of each end of a container, and let the target know."""
    loop = asyncio.get_running_loop()
    by_id = {target.member.container: target for target in targets}

    def ended(container: str, code: int, at: float) -> None:
        target = by_id.get(container)
        if target is not None:
            # Above 128 it is the signal that ended it, as shells count.
            code = 128 - code if code > 128 else code
            tell(ev.ProcessExited(name=target.name, pid=target.life.pid, code=code))
            target.ended(at)

    deaths = Deaths(docker, project, lambda *end: loop.call_soon_threadsafe(ended, *end))
    try:
        yield
    finally:
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(deaths.stop)
