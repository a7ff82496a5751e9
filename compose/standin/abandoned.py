"""Requests whose callers have gone: what two seeded behaviours do with a write that nobody waits for any more."""

import asyncio
from collections.abc import Callable
from contextvars import ContextVar

from aiohttp import web

from standin.errors import ApiError
from standin.routing import Handler

BUGS = frozenset({"late-write-at-thaw", "late-write-checked"})

_GONE: ContextVar[Callable[[], bool]] = ContextVar("standin_caller_gone", default=lambda: False)


def surviving(handler: Handler, *, checked: bool) -> Handler:
    """Let a request go on when its connection ends; ``checked``, its write is undone then.

    As a rule a request ends with its connection: one whose body was not read yet, and one that is being worked on.
    """

    async def survive(request: web.Request) -> web.StreamResponse:
        await request.read()
        if checked:
            _GONE.set(lambda: request.transport is None or request.transport.is_closing())
        return await asyncio.shield(asyncio.ensure_future(handler(request)))

    return survive


def check_caller() -> None:
    """Raise ApiError when the current request is checked, and its caller gone."""
    if _GONE.get()():
        raise ApiError(499, "The caller is gone; nothing is written for it.")
