"""Requests whose callers have gone: what two seeded behaviours do with a write that nobody waits for any more."""

from collections.abc import Callable
from contextvars import ContextVar

from aiohttp import web

from standin.errors import ApiError

BUGS = frozenset({"late-write-at-thaw", "late-write-checked"})

_GONE: ContextVar[Callable[[], bool]] = ContextVar("standin_caller_gone", default=lambda: False)


async def outlive(request: web.Request, *, checked: bool) -> None:
    """Let a request go on when its connection ends; ``checked``, its write is undone then.

    As a rule a body that was not read yet ends with its connection, and the request with it.
    """
    await request.read()
    if checked:
        _GONE.set(lambda: request.transport is None or request.transport.is_closing())


def check_caller() -> None:
    """Raise ApiError when the current request is checked, and its caller gone."""
    if _GONE.get()():
        raise ApiError(499, "The caller is gone; nothing is written for it.")
