"""A route as data: who may call it and how often."""

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from aiohttp import web

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Access(Enum):
    """Whom a route serves."""

    PUBLIC = "anybody, without a token"
    USER = "whoever has a valid token"
    OWNER = "users with the owner role; others get 403"


@dataclass(frozen=True, slots=True)
class Route:
    """One API route; ``path`` is below ``/api/v2``."""

    method: str
    path: str
    handler: Handler
    access: Access = Access.USER
    limit: int | None = None
    """Requests per minute instead of the deployment's own limit."""
    builds: bool = False
    """Posts a workspace build."""
    streams: bool = False
    """Answers with an endless stream; what upgrades to a WebSocket is known by its headers."""


def answer(body: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    """Give a JSON answer."""
    return web.Response(
        body=json.dumps(body, separators=(",", ":")).encode(),
        status=status,
        headers=headers,
        content_type="application/json",
        charset="utf-8",
    )


def message(text: str, status: int = 200) -> web.Response:
    """Give the short answer ``{"message": text}``."""
    return answer({"message": text}, status)
