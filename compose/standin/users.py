"""Users and organizations (coderd/users.go, coderd/organizations.go)."""

import json
from typing import Any

import asyncpg
from aiohttp import web

from standin import views
from standin.accounts import check_strength, insert_user
from standin.audit_log import ENTRY, Entry
from standin.auth import ACTOR
from standin.body import Body, page, search_terms
from standin.errors import ApiError
from standin.lookup import find_organization, find_user
from standin.passwords import hash_password
from standin.routing import Access, Route, answer, message
from standin.services import services_of
from standin.views import stamp

_LIST_SQL = """
SELECT u.*, ARRAY(SELECT organization_id FROM organization_members m WHERE m.user_id = u.id) AS organization_ids,
    count(*) OVER () AS total
FROM users u
WHERE NOT u.deleted AND ($1 = '' OR u.username ILIKE '%' || $1 || '%' OR u.email ILIKE '%' || $1 || '%')
    AND ($2 = '' OR u.status = $2) AND ($3 = '' OR $3 = ANY (u.rbac_roles))
ORDER BY lower(u.username) LIMIT $4 OFFSET $5
"""
_MEMBERS_SQL = """
SELECT u.*, m.created_at AS member_since, count(*) OVER () AS total
FROM organization_members m JOIN users u ON u.id = m.user_id
WHERE m.organization_id = $1 AND NOT u.deleted ORDER BY lower(u.username) LIMIT $2 OFFSET $3
"""
_SET_SQL = """
INSERT INTO user_configs (user_id, key, value) SELECT $1, new.* FROM unnest($2::text[], $3::text[]) new
ON CONFLICT (user_id, key) DO UPDATE SET value = excluded.value
"""
_SETTINGS: dict[str, dict[str, Any]] = {
    "appearance": {"theme_preference": "", "terminal_font": ""},
    "preferences": {"task_notification_alert_dismissed": False},
}
_DELETE_SQL = """
WITH gone AS (
    UPDATE users SET deleted = true, updated_at = now()
    WHERE id = $1 AND NOT EXISTS (SELECT FROM workspaces WHERE owner_id = $1 AND NOT deleted) RETURNING id
), keys AS (DELETE FROM api_keys USING gone WHERE user_id = gone.id)
SELECT count(*) FROM gone
"""
_LOGIN_TYPES = ("password", "none", "github", "oidc")
_STATUSES = ("dormant", "active", "suspended")


async def one_user(request: web.Request) -> web.Response:
    """Give a user by ``me``, id or name."""
    db, actor = services_of(request).db, request[ACTOR]
    return answer(views.user(await find_user(db, actor, request.match_info["user"])))


async def list_users(request: web.Request) -> web.Response:
    """List users; ``q`` knows free text, ``status:`` and ``role:``."""
    terms = search_terms(request.query.get("q", ""), ("text", "status", "role"), "user", free="text")
    limit, offset = page(request)
    rows = await services_of(request).db.rows(_LIST_SQL, terms["text"], terms["status"], terms["role"], limit, offset)
    return answer({"users": [views.user(row) for row in rows], "count": rows[0]["total"] if rows else 0})


async def create_user(request: web.Request) -> web.Response:
    """Create a user; dormant unless ``user_status`` says otherwise."""
    services, actor = services_of(request), request[ACTOR]
    body = await Body.read(request)
    username = body.name("username")
    login_type = body.choice("login_type", _LOGIN_TYPES, "password")
    email = body.email("email", required=login_type == "password")
    status = body.choice("user_status", _STATUSES, "dormant")
    password = body.text("password", required=login_type == "password")
    roles = [role for role in body.data.get("roles") or [] if isinstance(role, str)]
    name = body.text("name")
    body.check()
    hashed = ""
    if login_type == "password":
        check_strength(password)
        hashed = await hash_password(password)
    try:
        async with services.db.transaction() as conn:
            user_id = await insert_user(
                conn,
                email=email,
                username=username,
                name=name,
                hashed=hashed,
                status=status,
                roles=roles,
                login_type=login_type,
            )
    except asyncpg.UniqueViolationError:
        raise ApiError(409, "User already exists.") from None
    request[ENTRY] = Entry("create", "user", user_id, username, {"username": username, "email": email})
    return answer(views.user(await find_user(services.db, actor, str(user_id))), 201)


async def delete_user(request: web.Request) -> web.Response:
    """Delete a user with its keys; 417 while it owns workspaces, 403 for oneself (unverified)."""
    db, actor = services_of(request).db, request[ACTOR]
    user = await find_user(db, actor, request.match_info["user"])
    if user["id"] == actor.id:
        raise ApiError(403, "You cannot delete yourself!")
    if not await db.value(_DELETE_SQL, user["id"]):
        raise ApiError(417, "You cannot delete a user that has workspaces. Delete their workspaces and try again!")
    request[ENTRY] = Entry("delete", "user", user["id"], user["username"])
    return message("User has been deleted!")


async def list_members(request: web.Request) -> web.Response:
    """List the members of an organization; the paginated form counts them too."""
    db = services_of(request).db
    organization = await find_organization(db, request.match_info["organization"])
    limit, offset = page(request)
    rows = await db.rows(_MEMBERS_SQL, organization["id"], limit, offset)
    members = [
        {
            "user_id": str(row["id"]),
            "organization_id": str(organization["id"]),
            "username": row["username"],
            "name": row["name"],
            "email": row["email"],
            "avatar_url": "",
            "status": row["status"],
            "roles": [],
            "global_roles": [{"name": role, "display_name": views.role_title(role)} for role in row["rbac_roles"]],
            "created_at": stamp(row["member_since"]),
            "updated_at": stamp(row["member_since"]),
        }
        for row in rows
    ]
    if request.path.endswith("/members"):
        return answer(members)
    return answer({"members": members, "count": rows[0]["total"] if rows else 0})


async def sharing_settings(request: web.Request) -> web.Response:
    """Say that workspaces may be shared (the shape is unverified); the stand-in has nobody to share them with."""
    await find_organization(services_of(request).db, request.match_info["organization"])
    return answer({"sharing_disabled": False})


async def get_setting(request: web.Request) -> web.Response:
    """Give a user's own looks or preferences."""
    db = services_of(request).db
    user = await find_user(db, request[ACTOR], request.match_info["user"])
    defaults = _SETTINGS[request.path.rpartition("/")[2]]
    rows = await db.rows("SELECT key, value FROM user_configs WHERE user_id = $1", user["id"])
    found = {row["key"]: json.loads(row["value"]) for row in rows}
    return answer({name: found.get(name, default) for name, default in defaults.items()})


async def put_setting(request: web.Request) -> web.Response:
    """Change a user's own looks or preferences."""
    db = services_of(request).db
    user = await find_user(db, request[ACTOR], request.match_info["user"])
    body = await Body.read(request)
    defaults = _SETTINGS[request.path.rpartition("/")[2]]
    for name, default in defaults.items():
        if name in body.data and not isinstance(body.data[name], type(default)):
            body.problem(name, "type", body.data[name])
    body.check()
    wanted = {name: json.dumps(body.data[name]) for name in defaults if name in body.data}
    await db.rows(_SET_SQL, user["id"], list(wanted), list(wanted.values()))
    return await get_setting(request)


async def list_organizations(request: web.Request) -> web.Response:
    """List the organizations."""
    rows = await services_of(request).db.rows("SELECT * FROM organizations ORDER BY name")
    return answer([views.organization(row) for row in rows])


async def one_organization(request: web.Request) -> web.Response:
    """Give an organization by id, name or ``default``."""
    return answer(
        views.organization(await find_organization(services_of(request).db, request.match_info["organization"])),
    )


async def organizations_of_user(request: web.Request) -> web.Response:
    """List the organizations a user is a member of."""
    db = services_of(request).db
    user = await find_user(db, request[ACTOR], request.match_info["user"])
    rows = await db.rows("SELECT * FROM organizations WHERE id = ANY ($1) ORDER BY name", user["organization_ids"])
    return answer([views.organization(row) for row in rows])


ROUTES = (
    Route("GET", "/users", list_users, Access.OWNER),
    Route("POST", "/users", create_user, Access.OWNER),
    Route("GET", "/users/{user}", one_user),
    Route("DELETE", "/users/{user}", delete_user, Access.OWNER),
    Route("GET", "/users/{user}/organizations", organizations_of_user),
    Route("GET", "/organizations", list_organizations),
    Route("GET", "/organizations/{organization}", one_organization),
    Route("GET", "/organizations/{organization}/members", list_members),
    Route("GET", "/organizations/{organization}/paginated-members", list_members),
    Route("GET", "/organizations/{organization}/settings/workspace-sharing", sharing_settings),
    *(Route("GET", f"/users/{{user}}/{name}", get_setting) for name in _SETTINGS),
    *(Route("PUT", f"/users/{{user}}/{name}", put_setting) for name in _SETTINGS),
)
