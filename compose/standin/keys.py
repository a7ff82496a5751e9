"""Session-like keys and API tokens of a user (coderd/apikey.go)."""

from typing import Any

import asyncpg
from aiohttp import web

from standin.auth import ACTOR, MAX_TOKEN_SECONDS, SESSION_SECONDS, TOKEN_SECONDS, mint
from standin.body import Body
from standin.db import Row
from standin.errors import ApiError, not_found
from standin.lookup import find_user
from standin.routing import Route, answer
from standin.services import services_of
from standin.views import stamp


def _view(row: Row) -> dict[str, Any]:
    return {
        "id": row["id"],
        "user_id": str(row["user_id"]),
        "token_name": row["token_name"],
        "created_at": stamp(row["created_at"]),
        "updated_at": stamp(row["updated_at"]),
        "expires_at": stamp(row["expires_at"]),
        "last_used": stamp(row["last_used"]),
        "lifetime_seconds": row["lifetime_seconds"],
        "login_type": row["login_type"],
        "scope": "all",
    }


async def _user(request: web.Request) -> Row:
    return await find_user(services_of(request).db, request[ACTOR], request.match_info["user"])


async def create_key(request: web.Request) -> web.Response:
    """Mint a session-like key."""
    user = await _user(request)
    async with services_of(request).db.transaction() as conn:
        return answer({"key": await mint(conn, user["id"], login_type="password", seconds=SESSION_SECONDS)}, 201)


async def create_token(request: web.Request) -> web.Response:
    """Mint an API token; ``lifetime`` is in nanoseconds."""
    user = await _user(request)
    body = await Body.read(request)
    name, lifetime = body.text("token_name"), body.integer("lifetime")
    seconds = lifetime // 10**9 if lifetime else TOKEN_SECONDS
    if seconds <= 0 or seconds > MAX_TOKEN_SECONDS:
        raise ApiError(400, "Failed to validate create API key request.", "lifetime must be from 1 s to 876600 h")
    try:
        async with services_of(request).db.transaction() as conn:
            key = await mint(conn, user["id"], login_type="token", seconds=seconds, token_name=name)
    except asyncpg.UniqueViolationError:
        problem = ("token_name", "This value is already in use and should be unique.")
        raise ApiError(409, f'A token with name "{name}" already exists.', validations=[problem]) from None
    return answer({"key": key}, 201)


async def list_tokens(request: web.Request) -> web.Response:
    """List a user's API tokens."""
    user = await _user(request)
    rows = await services_of(request).db.rows(
        "SELECT * FROM api_keys WHERE user_id = $1 AND login_type = 'token' ORDER BY created_at",
        user["id"],
    )
    return answer([_view(row) for row in rows])


async def delete_key(request: web.Request) -> web.Response:
    """Delete a key; 204."""
    user = await _user(request)
    deleted = await services_of(request).db.value(
        "DELETE FROM api_keys WHERE user_id = $1 AND id = $2 RETURNING id",
        user["id"],
        request.match_info["keyid"],
    )
    if deleted is None:
        raise not_found()
    return web.Response(status=204)


ROUTES = (
    Route("POST", "/users/{user}/keys", create_key),
    Route("POST", "/users/{user}/keys/tokens", create_token),
    Route("GET", "/users/{user}/keys/tokens", list_tokens),
    Route("DELETE", "/users/{user}/keys/{keyid}", delete_key),
)
