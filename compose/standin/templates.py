"""Files, template versions and templates (coderd/files.go, coderd/templateversions.go, coderd/templates.go)."""

import hashlib
import json
from uuid import UUID, uuid4

import asyncpg
from aiohttp import web

from standin import views
from standin.audit_log import ENTRY, Entry
from standin.auth import ACTOR
from standin.body import Body, path_uuid
from standin.db import Conn
from standin.errors import ApiError, not_found
from standin.lookup import find_organization
from standin.pubsub import JOB_POSTED, template_channel
from standin.ratelimit import FILES_LIMIT
from standin.routing import Access, Route, answer, message
from standin.services import services_of

_TEMPLATE_SQL = """
SELECT t.*, g.name AS organization_name, u.username AS creator_name
FROM templates t JOIN organizations g ON g.id = t.organization_id JOIN users u ON u.id = t.created_by
"""
_FILE_TYPES = {"application/x-tar", "application/tar", "application/zip", "application/x-zip-compressed"}


async def insert_job(conn: Conn, kind: str, organization: UUID, initiator: UUID, file_id: UUID, **work: str) -> UUID:
    """Queue a provisioner job and announce it; ``work`` is the job's ``input``. Visible once committed."""
    job_id = uuid4()
    await conn.fetchval(
        "WITH job AS (INSERT INTO provisioner_jobs (id, type, organization_id, initiator_id, file_id, input, tags) "
        "VALUES ($1, $2, $3, $4, $5, $6, $7) RETURNING id) SELECT pg_notify($8, '') FROM job",
        job_id,
        kind,
        organization,
        initiator,
        file_id,
        json.dumps(work),
        json.dumps({"owner": "", "scope": "organization"}),
        JOB_POSTED,
    )
    return job_id


async def upload_file(request: web.Request) -> web.Response:
    """Store a file; the same content again answers 200 with the first id."""
    if request.content_type not in _FILE_TYPES:
        raise ApiError(400, f'Unsupported content type header "{request.content_type}".')
    data = await request.read()
    row = await services_of(request).db.row(
        "INSERT INTO files (id, hash, created_by, mimetype, data) VALUES ($1, $2, $3, $4, $5) "
        "ON CONFLICT (hash, created_by) DO UPDATE SET hash = excluded.hash RETURNING id, xmax = 0 AS fresh",
        uuid4(),
        hashlib.sha256(data).hexdigest(),
        request[ACTOR].id,
        request.content_type,
        data,
    )
    if row is None:
        raise not_found()
    return answer({"hash": str(row["id"])}, 201 if row["fresh"] else 200)


async def create_version(request: web.Request) -> web.Response:
    """Create a template version, and queue its import."""
    db, actor = services_of(request).db, request[ACTOR]
    organization = await find_organization(db, request.match_info["organization"])
    body = await Body.read(request)
    body.choice("storage_method", ("file",))
    provisioner = body.choice("provisioner", ("terraform", "echo"))
    file_id, template_id = body.uuid("file_id"), body.uuid("template_id")
    name, note = body.text("name") or f"version_{uuid4().hex[:8]}", body.text("message")
    body.check()
    if file_id is None or not await db.value("SELECT EXISTS (SELECT FROM files WHERE id = $1)", file_id):
        raise ApiError(404, "File not found.")
    version_id = uuid4()
    try:
        async with db.transaction() as conn:
            job_id = await insert_job(
                conn,
                "template_version_import",
                organization["id"],
                actor.id,
                file_id,
                template_version_id=str(version_id),
            )
            await conn.execute(
                "INSERT INTO template_versions (id, template_id, organization_id, name, message, provisioner, job_id, "
                "created_by) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
                version_id,
                template_id,
                organization["id"],
                name,
                note,
                provisioner,
                job_id,
                actor.id,
            )
            row = await conn.fetchrow("SELECT * FROM versions_with_job WHERE id = $1", version_id)
    except asyncpg.ForeignKeyViolationError:
        raise ApiError(404, "Template not found.") from None
    except asyncpg.UniqueViolationError:
        raise ApiError(409, f'A template version with name "{name}" already exists for this template.') from None
    request[ENTRY] = Entry(
        "create", "template_version", version_id, name, {"name": name}, organization=organization["id"]
    )
    return answer(views.version(row), 201)


async def one_version(request: web.Request) -> web.Response:
    """Give a template version with its import job."""
    version_id = path_uuid(request, "templateversion")
    row = await services_of(request).db.row("SELECT * FROM versions_with_job WHERE id = $1", version_id)
    if row is None:
        raise not_found()
    return answer(views.version(row))


async def create_template(request: web.Request) -> web.Response:
    """Create a template from an imported version."""
    db, actor = services_of(request).db, request[ACTOR]
    organization = await find_organization(db, request.match_info["organization"])
    body = await Body.read(request)
    name, version_id = body.name("name", tag="template_name"), body.uuid("template_version_id", required=True)
    texts = [body.text(field) for field in ("display_name", "description", "icon")]
    spans = [body.integer(field) or 0 for field in ("default_ttl_ms", "activity_bump_ms")]
    body.check()
    version = await db.row("SELECT * FROM versions_with_job WHERE id = $1", version_id)
    if version is None:
        detail = "Template version does not exist."
        text = f'Template version "{version_id}" does not exist.'
        raise ApiError(404, text, validations=[("template_version_id", detail)])
    if version["job_status"] != "succeeded":
        raise ApiError(412, "Only versions that have been built successfully can be promoted.")
    template_id = uuid4()
    try:
        async with db.transaction() as conn:
            await conn.execute(
                "INSERT INTO templates (id, organization_id, name, provisioner, active_version_id, created_by, "
                "display_name, description, icon, default_ttl_ms, activity_bump_ms) "
                "VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
                template_id,
                organization["id"],
                name,
                version["provisioner"],
                version_id,
                actor.id,
                *texts,
                *spans,
            )
            await conn.execute("UPDATE template_versions SET template_id = $1 WHERE id = $2", template_id, version_id)
            row = await conn.fetchrow(f"{_TEMPLATE_SQL} WHERE t.id = $1", template_id)
    except asyncpg.UniqueViolationError:
        problem = ("name", "This value is already in use and should be unique.")
        raise ApiError(409, f'Template with name "{name}" already exists.', validations=[problem]) from None
    request[ENTRY] = Entry("create", "template", template_id, name, {"name": name}, organization=organization["id"])
    return answer(views.template(row), 201)


async def promote(request: web.Request) -> web.Response:
    """Make a version the active one, and tell the watchers of all workspaces of the template."""
    db, template_id = services_of(request).db, path_uuid(request, "template")
    body = await Body.read(request)
    version_id = body.uuid("id", required=True)
    body.check()
    template = await db.row("SELECT * FROM templates WHERE id = $1 AND NOT deleted", template_id)
    version = await db.row("SELECT * FROM versions_with_job WHERE id = $1", version_id)
    if template is None:
        raise not_found()
    if version is None:
        raise ApiError(404, "Template version not found.")
    if version["template_id"] != template_id:
        raise ApiError(400, "The provided template version doesn't belong to the specified template.")
    if version["job_status"] != "succeeded":
        raise ApiError(412, "Only versions that have been built successfully can be promoted.")
    await db.value(
        "UPDATE templates SET active_version_id = $2, updated_at = now() WHERE id = $1 RETURNING pg_notify($3, '')",
        template_id,
        version_id,
        template_channel(template_id),
    )
    old, new = ({"active_version_id": str(value)} for value in (template["active_version_id"], version_id))
    organization = template["organization_id"]
    request[ENTRY] = Entry("write", "template", template_id, template["name"], new, old, organization=organization)
    return message("Updated the active template version!")


async def delete_template(request: web.Request) -> web.Response:
    """Delete a template; 400 while workspaces use it (unverified)."""
    db, template_id = services_of(request).db, path_uuid(request, "template")
    template = await db.row("SELECT * FROM templates WHERE id = $1 AND NOT deleted", template_id)
    if template is None:
        raise not_found()
    if not await db.value(
        "WITH gone AS (UPDATE templates SET deleted = true, updated_at = now() WHERE id = $1 AND NOT EXISTS "
        "(SELECT FROM workspaces WHERE template_id = $1 AND NOT deleted) RETURNING id) SELECT count(*) FROM gone",
        template_id,
    ):
        raise ApiError(400, "All workspaces must be deleted before a template can be removed.")
    organization = template["organization_id"]
    request[ENTRY] = Entry("delete", "template", template_id, template["name"], organization=organization)
    return message("Template has been deleted!")


async def list_templates(request: web.Request) -> web.Response:
    """List the templates, of one organization when the path names it."""
    db, organization = services_of(request).db, None
    if "organization" in request.match_info:
        organization = (await find_organization(db, request.match_info["organization"]))["id"]
    where = "WHERE NOT t.deleted AND ($1::uuid IS NULL OR t.organization_id = $1) ORDER BY lower(t.name)"
    rows = await db.rows(f"{_TEMPLATE_SQL} {where}", organization)
    return answer([views.template(row) for row in rows])


async def one_template(request: web.Request) -> web.Response:
    """Give a template by its id, or by its name within an organization."""
    db = services_of(request).db
    if "organization" in request.match_info:
        name = request.match_info["templatename"]
        organization = (await find_organization(db, request.match_info["organization"]))["id"]
        where, values = (
            "WHERE NOT t.deleted AND t.organization_id = $1 AND lower(t.name) = lower($2)",
            (organization, name),
        )
        row = await db.row(f"{_TEMPLATE_SQL} {where}", *values)
    else:
        row = await db.row(f"{_TEMPLATE_SQL} WHERE t.id = $1 AND NOT t.deleted", path_uuid(request, "template"))
    if row is None:
        raise not_found()
    return answer(views.template(row))


ROUTES = (
    Route("POST", "/files", upload_file, limit=FILES_LIMIT),
    Route("POST", "/organizations/{organization}/templateversions", create_version, Access.OWNER),
    Route("GET", "/templateversions/{templateversion}", one_version),
    Route("POST", "/organizations/{organization}/templates", create_template, Access.OWNER),
    Route("GET", "/organizations/{organization}/templates", list_templates),
    Route("GET", "/organizations/{organization}/templates/{templatename}", one_template),
    Route("GET", "/templates", list_templates),
    Route("GET", "/templates/{template}", one_template),
    Route("DELETE", "/templates/{template}", delete_template, Access.OWNER),
    Route("PATCH", "/templates/{template}/versions", promote, Access.OWNER),
)
