"""Who is asking: tokens, the key lookup, and the signed-in actor (coderd/httpmw/apikey.go)."""

import hashlib
import hmac
import secrets
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from aiohttp import web

from standin.db import Conn, Database, Row
from standin.errors import DATABASE_ERRORS, ApiError, key_lookup_failed, signed_out

TOKEN_HEADER = "Coder-Session-Token"  # noqa: S105 - the name of a header
COOKIE = "coder_session_token"
SESSION_SECONDS = 86_400  # codersdk/deployment.go: sessions live 24 h, extended on use
TOKEN_SECONDS = 168 * 3600  # codersdk/deployment.go: API tokens live 7 d unless asked otherwise
MAX_TOKEN_SECONDS = 876_600 * 3600
_ALPHABET = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
_ID_LENGTH, _SECRET_LENGTH = 10, 22  # coderd/apikey/apikey.go
_WRITE_BACK_SECONDS = 3600.0  # a key's last use is written about hourly, so that reads stay reads

_KEY_SQL = """
SELECT k.id AS key_id, k.hashed_secret, k.expires_at, k.expires_at < now() AS expired, k.lifetime_seconds,
    extract(epoch FROM now() - k.last_used)::float8 AS unused_seconds,
    u.*, ARRAY(SELECT organization_id FROM organization_members m WHERE m.user_id = u.id) AS organization_ids
FROM api_keys k JOIN users u ON u.id = k.user_id WHERE k.id = $1 AND NOT u.deleted
"""
_MINT_SQL = """
INSERT INTO api_keys (id, hashed_secret, user_id, token_name, login_type, lifetime_seconds, expires_at)
VALUES ($1, $2, $3, $4, $5, $6, now() + $6::bigint * interval '1 second')
"""


@dataclass(frozen=True, slots=True)
class Actor:
    """The signed-in user: the users row (with ``organization_ids``) and the key it came with."""

    id: UUID
    key_id: str
    owner: bool
    row: Row

    def may_see(self, owner_id: UUID) -> bool:
        """Say whether something owned by ``owner_id`` is visible: one's own, or all for the owner role."""
        return self.owner or owner_id == self.id


ACTOR = web.RequestKey("actor", Actor)


def _random(length: int) -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(length))


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()


async def mint(conn: Conn, user_id: UUID, *, login_type: str, seconds: int, token_name: str = "") -> str:
    """Insert a key and give its token, ``<10 characters>-<22 characters>``; only a hash of the secret is kept."""
    key_id, secret = _random(_ID_LENGTH), _random(_SECRET_LENGTH)
    await conn.execute(_MINT_SQL, key_id, _digest(secret), user_id, token_name or key_id, login_type, seconds)
    return f"{key_id}-{secret}"


def find_token(request: web.Request) -> str:
    """Take the token from cookie, query, header or bearer, in Coder's order; empty when there is none."""
    bearer = request.headers.get("Authorization", "")
    return (
        request.cookies.get(COOKIE)
        or request.query.get(COOKIE)
        or request.headers.get(TOKEN_HEADER)
        or (bearer[7:].strip() if bearer[:7].lower() == "bearer " else "")
    )


def check_csrf(request: web.Request) -> None:
    """Refuse a state-changing request that only a browser's cookie vouches for (coderd/httpmw/csrf.go)."""
    cookie = request.cookies.get(COOKIE)
    if not cookie or request.method in {"GET", "HEAD", "OPTIONS", "TRACE"}:
        return
    if cookie in {request.headers.get(TOKEN_HEADER), request.query.get(COOKIE)}:
        return
    expected = request.cookies.get("csrf_token")
    if not expected or request.headers.get("X-CSRF-TOKEN") != expected:
        raise web.HTTPBadRequest(text="Something is wrong with your CSRF token. Please refresh the page.")


async def authenticate(db: Database, request: web.Request) -> Actor:
    """Find the actor of a request with one query; raise 401, or 500 when the database cannot be asked."""
    token = find_token(request)
    if not token:
        raise signed_out(f'Cookie "{COOKIE}" or query parameter must be provided.')
    key_id, _, secret = token.partition("-")
    if len(key_id) != _ID_LENGTH or len(secret) != _SECRET_LENGTH:
        raise signed_out("Invalid API key format: incorrect length of API key ID or secret.")
    try:
        row = await db.row(_KEY_SQL, key_id)
        if row is None or not hmac.compare_digest(row["hashed_secret"], _digest(secret)):
            raise signed_out("API key is invalid.")
        if row["expired"]:
            raise signed_out(f'API key expired at "{row["expires_at"]}"')
        if row["status"] == "suspended":
            detail = f"User is not active (status = {row['status']!r}). Contact an admin to reactivate your account."
            raise ApiError(401, detail)
        await _note_use(db, row)
    except DATABASE_ERRORS as error:
        raise key_lookup_failed(error) from error
    return Actor(id=row["id"], key_id=row["key_id"], owner="owner" in row["rbac_roles"], row=row)


async def _note_use(db: Database, row: Row) -> None:
    """Wake a dormant user, and write the key's use and a session's longer life about once an hour."""
    if row["status"] == "dormant":
        await db.value("UPDATE users SET status = 'active', updated_at = now() WHERE id = $1", row["id"])
    if row["unused_seconds"] > _WRITE_BACK_SECONDS:
        lifetime = timedelta(seconds=row["lifetime_seconds"])
        await db.value(
            "UPDATE api_keys SET last_used = now(), expires_at = CASE login_type WHEN 'token' THEN expires_at "
            "ELSE now() + $2::interval END WHERE id = $1",
            row["key_id"],
            lifetime,
        )
        await db.value("UPDATE users SET last_seen_at = now() WHERE id = $1", row["id"])
