"""A stack of the fake backend that cheats in one place."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from harness.backends import fake

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from harness.stack import Context, Open, StackRequest


class Cheat:
    """Everything is the honest stack's, but for what a subclass overrides."""

    def __init__(self, honest: fake.FakeStack) -> None:
        self.honest = honest

    def __getattr__(self, name: str) -> Any:
        return getattr(self.honest, name)


def opening(cheat: Callable[[fake.FakeStack], Any]) -> Open:
    """Backend that opens a fake stack and hands out what `cheat` makes of it."""

    @asynccontextmanager
    async def open_(request: StackRequest, context: Context) -> AsyncIterator[Any]:
        async with fake.open(request, context) as honest:
            yield cheat(honest)

    return open_
