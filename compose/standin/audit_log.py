"""Writing the audit log: after the handler, outside its transaction (coderd/audit/request.go).

So a change can be committed and its entry missing, when the database goes away between the two; never an entry twice.
"""

import json
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

from aiohttp import web

from standin.auth import ACTOR
from standin.db import Database
from standin.errors import DATABASE_ERRORS
from standin.log import LOG, one_line

NOBODY = UUID(int=0)
_INSERT_SQL = """
INSERT INTO audit_logs (id, user_id, organization_id, ip, user_agent, resource_type, resource_id, resource_target, action,
    diff, status_code, additional_fields, request_id)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
"""
_BUILD_SQL = """
SELECT b.id, b.job_id, b.job_status, b.initiator_id, b.transition, b.build_number, b.reason, b.workspace_id,
    b.workspace_name, b.owner_name, w.organization_id
FROM builds_with_job b JOIN workspaces w ON w.id = b.workspace_id WHERE b.job_id = $1
"""


@dataclass(slots=True)
class Entry:
    """What a handler did. ``user_id`` is set where the request itself carries no actor."""

    action: str
    resource: str
    id: UUID
    target: str
    new: dict[str, Any] = field(default_factory=dict)
    old: dict[str, Any] = field(default_factory=dict)
    organization: UUID = NOBODY
    user_id: UUID | None = None
    fields: dict[str, Any] = field(default_factory=dict)

    def diff(self) -> str:
        """Draw what differs between old and new."""
        names = sorted(name for name in {*self.old, *self.new} if self.old.get(name) != self.new.get(name))
        return json.dumps(
            {name: {"old": self.old.get(name, ""), "new": self.new.get(name, ""), "secret": False} for name in names}
        )


ENTRY = web.RequestKey("audit", Entry)


async def insert_entry(db: Database, request: web.Request, entry: Entry, status: int) -> None:
    """Write an entry of a request; raise what the database raises."""
    actor = request.get(ACTOR)
    user_id = entry.user_id or (actor.id if actor is not None else NOBODY)
    agent = request.headers.get("User-Agent", "")
    await _insert(db, entry, user_id, request.remote or "", agent, status, uuid4())


async def write_entry(db: Database, request: web.Request, status: int) -> None:
    """Write what the handler left under ``ENTRY``, if anything. A failure is logged, and the answer goes out as it is."""
    entry = request.get(ENTRY)
    if entry is None:
        return
    try:
        await insert_entry(db, request, entry, status)
    except DATABASE_ERRORS as error:
        LOG.error("export audit log: %s", one_line(error))


async def audit_build(db: Database, job_id: UUID) -> None:
    """Write the entry of a build that has ended; its request id is the job's. A failure is logged."""
    try:
        row = await db.row(_BUILD_SQL, job_id)
        if row is None or row["job_status"] == "canceled":
            return
        fields = {
            "workspace_name": row["workspace_name"],
            "build_number": str(row["build_number"]),
            "build_reason": row["reason"],
            "workspace_owner": row["owner_name"],
            "workspace_id": str(row["workspace_id"]),
        }
        organization = row["organization_id"]
        entry = Entry(row["transition"], "workspace_build", row["id"], "", organization=organization, fields=fields)
        status = 200 if row["job_status"] == "succeeded" else 500
        await _insert(db, entry, row["initiator_id"], "127.0.0.1", "", status, job_id)
    except DATABASE_ERRORS as error:
        LOG.error("export audit log: %s", one_line(error))


async def _insert(db: Database, entry: Entry, user_id: UUID, *origin: Any) -> None:
    ip, agent, status, request_id = origin
    what = (
        entry.resource,
        entry.id,
        entry.target,
        entry.action,
        entry.diff(),
        status,
        json.dumps(entry.fields),
        request_id,
    )
    await db.value(_INSERT_SQL, uuid4(), user_id, entry.organization, ip, agent, *what)
