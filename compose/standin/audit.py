"""Reading the audit log (coderd/audit.go, coderd/searchquery)."""

import json
from datetime import UTC, datetime
from typing import Any

from aiohttp import web

from standin.audit_log import NOBODY, Entry, insert_entry
from standin.auth import ACTOR
from standin.body import page, search_terms
from standin.db import Row
from standin.errors import ApiError
from standin.lookup import as_uuid
from standin.routing import Access, Route, answer
from standin.services import services_of
from standin.views import stamp

_TERMS = ("resource_type", "resource_id", "resource_target", "username", "email", "action", "date_from", "date_to",
          "build_reason", "organization", "request_id")  # fmt: skip
_LIST_SQL = """
SELECT a.*, u.username, u.email, u.status AS user_status, u.name AS user_name, u.created_at AS user_created_at,
    o.name AS organization_name, o.display_name AS organization_display_name, count(*) OVER () AS total
FROM audit_logs a LEFT JOIN users u ON u.id = a.user_id LEFT JOIN organizations o ON o.id = a.organization_id
WHERE ($1 = '' OR a.resource_type = $1) AND ($2::uuid IS NULL OR a.resource_id = $2)
    AND ($3 = '' OR a.resource_target = $3) AND ($4 = '' OR lower(u.username) = lower($4))
    AND ($5 = '' OR lower(u.email) = lower($5)) AND ($6 = '' OR a.action = $6)
    AND ($7::timestamptz IS NULL OR a."time" >= $7) AND ($8::timestamptz IS NULL OR a."time" <= $8)
    AND ($9 = '' OR a.additional_fields ->> 'build_reason' = $9)
    AND ($10 = '' OR o.name = $10 OR o.id::text = $10) AND ($11::uuid IS NULL OR a.request_id = $11)
ORDER BY a."time" DESC LIMIT $12 OFFSET $13
"""


def _view(row: Row) -> dict[str, Any]:
    known = row["username"] is not None
    organization = {
        "id": str(row["organization_id"]),
        "name": row["organization_name"] or "",
        "display_name": row["organization_display_name"] or "",
        "icon": "",
    }
    user = {
        "id": str(row["user_id"]),
        "username": row["username"],
        "email": row["email"],
        "name": row["user_name"],
        "status": row["user_status"],
        "created_at": stamp(row["user_created_at"]),
        "roles": [],
    }
    return {
        "id": str(row["id"]),
        "request_id": str(row["request_id"]),
        "time": stamp(row["time"]),
        "ip": row["ip"],
        "user_agent": row["user_agent"],
        "resource_type": row["resource_type"],
        "resource_id": str(row["resource_id"]),
        "resource_target": row["resource_target"],
        "resource_icon": row["resource_icon"],
        "action": row["action"],
        "diff": json.loads(row["diff"]),
        "status_code": row["status_code"],
        "additional_fields": json.loads(row["additional_fields"]),
        "description": f"{{user}} {row['action']} {row['resource_type'].replace('_', ' ')} {{target}}",
        "resource_link": "",
        "is_deleted": False,
        "organization_id": str(row["organization_id"]),
        "organization": organization,
        **({"user": user} if known else {}),
    }


def _moment(terms: dict[str, str], name: str) -> datetime | None:
    """Read a day; ``date_to`` takes in all of it."""
    if not terms[name]:
        return None
    try:
        day = datetime.strptime(terms[name], "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError:
        detail = f'Query param "{name}" must be a valid date format (2006-01-02)'
        raise ApiError(400, "Invalid audit search query.", validations=[(name, detail)]) from None
    return day if name == "date_from" else day.replace(hour=23, minute=59, second=59)


async def list_audit(request: web.Request) -> web.Response:
    """List audit entries, newest first; ``count`` is the number of all matches."""
    terms = search_terms(request.query.get("q", ""), _TERMS, "audit", free="resource_target")
    limit, offset = page(request)
    ids = {name: as_uuid(terms[name]) or (NOBODY if terms[name] else None) for name in ("resource_id", "request_id")}
    rows = await services_of(request).db.rows(
        _LIST_SQL,
        terms["resource_type"],
        ids["resource_id"],
        terms["resource_target"],
        terms["username"],
        terms["email"],
        terms["action"],
        _moment(terms, "date_from"),
        _moment(terms, "date_to"),
        terms["build_reason"],
        terms["organization"],
        ids["request_id"],
        limit,
        offset,
    )
    count = rows[0]["total"] if rows else 0
    return answer({"audit_logs": [_view(row) for row in rows], "count": count, "count_cap": 0})


async def generate(request: web.Request) -> web.Response:
    """Write a made-up entry: proof that the log can be written."""
    actor = request[ACTOR]
    name = actor.row["username"]
    await insert_entry(
        services_of(request).db, request, Entry("create", "user", actor.id, name, {"username": name}), 204
    )
    return web.Response(status=204)


ROUTES = (
    Route("GET", "/audit", list_audit, Access.OWNER),
    Route("POST", "/audit/testgenerate", generate, Access.OWNER),
)
