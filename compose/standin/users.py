"""Users and organizations (coderd/users.go, coderd/organizations.go)."""

import asyncpg
from aiohttp import web

from standin import views
from standin.accounts import check_strength, insert_user
from standin.auth import ACTOR
from standin.body import Body, page
from standin.errors import ApiError
from standin.lookup import find_organization, find_user
from standin.passwords import hash_password
from standin.routing import Access, Route, answer
from standin.services import services_of

_LIST_SQL = """
SELECT u.*, ARRAY(SELECT organization_id FROM organization_members m WHERE m.user_id = u.id) AS organization_ids,
    count(*) OVER () AS total
FROM users u
WHERE NOT u.deleted AND ($1 = '' OR u.username ILIKE '%' || $1 || '%' OR u.email ILIKE '%' || $1 || '%')
    AND ($2 = '' OR u.status = $2) AND ($3 = '' OR $3 = ANY (u.rbac_roles))
ORDER BY lower(u.username) LIMIT $4 OFFSET $5
"""
_LOGIN_TYPES = ("password", "none", "github", "oidc")
_STATUSES = ("dormant", "active", "suspended")


async def one_user(request: web.Request) -> web.Response:
    """Give a user by ``me``, id or name."""
    db, actor = services_of(request).db, request[ACTOR]
    return answer(views.user(await find_user(db, actor, request.match_info["user"])))


async def list_users(request: web.Request) -> web.Response:
    """List users; ``q`` knows free text, ``status:`` and ``role:``."""
    terms = {"": "", "status": "", "role": ""}
    for word in request.query.get("q", "").split():
        key, colon, value = word.partition(":")
        name, value = (key, value) if colon else ("", word)
        if name not in terms:
            problem = (name, f'"{name}" is not a valid query param')
            raise ApiError(400, "Invalid user search query.", validations=[problem])
        terms[name] = value
    limit, offset = page(request)
    rows = await services_of(request).db.rows(_LIST_SQL, terms[""], terms["status"], terms["role"], limit, offset)
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
    return answer(views.user(await find_user(services.db, actor, str(user_id))), 201)


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
    Route("GET", "/users/{user}/organizations", organizations_of_user),
    Route("GET", "/organizations", list_organizations),
    Route("GET", "/organizations/{organization}", one_organization),
)
