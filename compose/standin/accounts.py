"""First user, login and logout (coderd/users.go, coderd/userauth.go)."""

from uuid import UUID, uuid4

from aiohttp import web

from standin.audit_log import ENTRY, Entry
from standin.auth import ACTOR, COOKIE, SESSION_SECONDS, mint
from standin.body import Body
from standin.db import Conn
from standin.errors import ApiError
from standin.passwords import check_password, hash_password, weak_because
from standin.ratelimit import LOGIN_LIMIT
from standin.routing import Access, Route, answer, message
from standin.services import services_of

_SETUP_LOCK = 1  # coderd/database/lock.go LockIDDeploymentSetup


async def insert_user(
    conn: Conn, *, email: str, username: str, name: str, hashed: str, status: str, roles: list[str], login_type: str
) -> UUID:
    """Insert a user and make it a member of the default organization."""
    user_id = uuid4()
    await conn.execute(
        "INSERT INTO users (id, email, username, name, hashed_password, status, rbac_roles, login_type) "
        "VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        user_id,
        email,
        username,
        name,
        hashed,
        status,
        roles,
        login_type,
    )
    await conn.execute(
        "INSERT INTO organization_members (user_id, organization_id) SELECT $1, id FROM organizations WHERE is_default",
        user_id,
    )
    return user_id


def check_strength(password: str) -> None:
    """Refuse a weak password with Coder's 400."""
    reason = weak_because(password)
    if reason:
        raise ApiError(400, "Password not strong enough!", validations=[("password", reason)])


async def first_user(request: web.Request) -> web.Response:
    """Tell whether the deployment has a user."""
    if not await services_of(request).db.value("SELECT EXISTS (SELECT FROM users WHERE NOT deleted)"):
        raise ApiError(404, "The initial user has not been created!")
    return message("The initial user has already been created!")


async def create_first_user(request: web.Request) -> web.Response:
    """Create the first user, with the owner role; 409 ever after."""
    db = services_of(request).db
    body = await Body.read(request)
    email, username = body.email("email"), body.name("username")
    password, name = body.text("password", required=True), body.text("name")
    body.check()
    if await db.value("SELECT EXISTS (SELECT FROM users)"):
        raise ApiError(409, "The initial user has already been created.")
    check_strength(password)
    hashed = await hash_password(password)
    async with db.transaction() as conn:
        await conn.execute("SELECT pg_advisory_xact_lock($1)", _SETUP_LOCK)
        if await conn.fetchval("SELECT EXISTS (SELECT FROM users)"):
            raise ApiError(409, "The initial user has already been created.")
        user_id = await insert_user(
            conn,
            email=email,
            username=username,
            name=name,
            hashed=hashed,
            status="active",
            roles=["owner"],
            login_type="password",
        )
        organization_id = await conn.fetchval("SELECT id FROM organizations WHERE is_default")
    request[ENTRY] = Entry("create", "user", user_id, username, {"username": username, "email": email}, user_id=user_id)
    return answer({"user_id": str(user_id), "organization_id": str(organization_id)}, 201)


async def login(request: web.Request) -> web.Response:
    """Trade e-mail and password for a session token, in the body and as a cookie."""
    db = services_of(request).db
    body = await Body.read(request)
    email, password = body.email("email"), body.text("password", required=True)
    body.check()
    row = await db.row("SELECT * FROM users WHERE lower(email) = lower($1) AND NOT deleted", email)
    if row is not None:
        request[ENTRY] = Entry("login", "api_key", UUID(int=0), row["username"], user_id=row["id"])
    if row is None or not await check_password(password, row["hashed_password"]):
        raise ApiError(401, "Incorrect email or password.")
    if row["status"] == "suspended":
        raise ApiError(401, "Your account is suspended. Contact an admin to reactivate your account.")
    async with db.acquire() as conn:
        token = await mint(conn, row["id"], login_type="password", seconds=SESSION_SECONDS)
        await conn.execute("UPDATE users SET last_seen_at = now(), status = 'active' WHERE id = $1", row["id"])
    response = answer({"session_token": token}, 201)
    response.set_cookie(COOKIE, token, httponly=True, samesite="Lax", path="/")
    return response


async def logout(request: web.Request) -> web.Response:
    """Delete the key the request came with."""
    actor = request[ACTOR]
    await services_of(request).db.value("DELETE FROM api_keys WHERE id = $1", actor.key_id)
    request[ENTRY] = Entry("logout", "api_key", UUID(int=0), actor.row["username"])
    response = message("Logged out!")
    response.del_cookie(COOKIE, path="/")
    return response


async def auth_methods(_request: web.Request) -> web.Response:
    """Name the ways to sign in: passwords only."""
    return answer(
        {
            "password": {"enabled": True},
            "github": {"enabled": False, "default_provider_configured": False},
            "oidc": {"enabled": False, "signInText": "", "iconUrl": ""},
        },
    )


ROUTES = (
    Route("GET", "/users/first", first_user, Access.PUBLIC),
    Route("POST", "/users/first", create_first_user, Access.PUBLIC),
    Route("POST", "/users/login", login, Access.PUBLIC, limit=LOGIN_LIMIT),
    Route("POST", "/users/logout", logout),
    Route("GET", "/users/authmethods", auth_methods, Access.PUBLIC),
)
