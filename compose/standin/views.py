"""JSON shapes of the API, made from rows (codersdk/*.go). Times are RFC 3339 in UTC, ids are text."""

import json
from datetime import UTC, datetime
from typing import Any

from standin.db import Row


def stamp(moment: datetime | None) -> str | None:
    """Draw a time as Go does, or None."""
    return None if moment is None else moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _present(**fields: Any) -> dict[str, Any]:
    """Keep the fields that have a value, as Go's omitempty does."""
    return {name: value for name, value in fields.items() if value is not None}


def role_title(role: str) -> str:
    """Draw a role's name for people."""
    return role.replace("-", " ").title()


def user(row: Row) -> dict[str, Any]:
    """Shape a users row that carries ``organization_ids``."""
    return {
        "id": str(row["id"]),
        "username": row["username"],
        "name": row["name"],
        "email": row["email"],
        "avatar_url": "",
        "status": row["status"],
        "login_type": row["login_type"],
        "created_at": stamp(row["created_at"]),
        "updated_at": stamp(row["updated_at"]),
        "last_seen_at": stamp(row["last_seen_at"]),
        "organization_ids": [str(item) for item in row["organization_ids"]],
        "roles": [{"name": role, "display_name": role_title(role)} for role in row["rbac_roles"]],
    }


def organization(row: Row) -> dict[str, Any]:
    """Shape an organizations row."""
    return {
        "id": str(row["id"]),
        "name": row["name"],
        "display_name": row["display_name"],
        "description": "",
        "icon": "",
        "is_default": row["is_default"],
        "created_at": stamp(row["created_at"]),
        "updated_at": stamp(row["updated_at"]),
    }


def job(row: Row) -> dict[str, Any]:
    """Shape a ProvisionerJob from the ``job_`` columns of a view."""
    error = row["job_error"] or None
    return {
        "id": str(row["job_id"]),
        "created_at": stamp(row["job_created_at"]),
        **_present(
            started_at=stamp(row["job_started_at"]),
            completed_at=stamp(row["job_completed_at"]),
            canceled_at=stamp(row["job_canceled_at"]),
            error=error,
            worker_id=str(row["job_worker_id"]) if row["job_worker_id"] else None,
            worker_name=row["job_worker_name"],
        ),
        "status": row["job_status"],
        "file_id": str(row["job_file_id"]),
        "tags": json.loads(row["job_tags"]),
        "queue_position": row["queue_position"],
        "queue_size": row["queue_size"],
        "organization_id": str(row["job_organization_id"]),
        "initiator_id": str(row["job_initiator_id"]),
        "type": row["job_type"],
        "input": json.loads(row["job_input"]),
        "logs_overflowed": False,
    }


def version(row: Row) -> dict[str, Any]:
    """Shape a TemplateVersion from ``versions_with_job``."""
    return {
        "id": str(row["id"]),
        **_present(template_id=str(row["template_id"]) if row["template_id"] else None),
        "organization_id": str(row["organization_id"]),
        "created_at": stamp(row["created_at"]),
        "updated_at": stamp(row["updated_at"]),
        "name": row["name"],
        "message": row["message"],
        "readme": "",
        "archived": False,
        "created_by": {"id": str(row["creator_id"]), "username": row["creator_name"], "avatar_url": ""},
        "job": job(row),
    }


def template(row: Row) -> dict[str, Any]:
    """Shape a templates row that carries ``organization_name`` and ``creator_name``."""
    times = {"P50": None, "P95": None}
    return {
        "id": str(row["id"]),
        "created_at": stamp(row["created_at"]),
        "updated_at": stamp(row["updated_at"]),
        "organization_id": str(row["organization_id"]),
        "organization_name": row["organization_name"],
        "name": row["name"],
        "display_name": row["display_name"],
        "description": row["description"],
        "icon": row["icon"],
        "provisioner": row["provisioner"],
        "active_version_id": str(row["active_version_id"]),
        "active_user_count": -1,
        "build_time_stats": {"start": times, "stop": times, "delete": times},
        "default_ttl_ms": row["default_ttl_ms"],
        "activity_bump_ms": row["activity_bump_ms"],
        "allow_user_cancel_workspace_jobs": True,
        "created_by_id": str(row["created_by"]),
        "created_by_name": row["creator_name"],
        "deprecated": False,
        "deprecation_message": "",
        "require_active_version": False,
        "use_classic_parameter_flow": False,
    }


def build(row: Row) -> dict[str, Any]:
    """Shape a WorkspaceBuild from ``builds_with_job``; fake builds have no resources."""
    return {
        "id": str(row["id"]),
        "build_number": row["build_number"],
        "workspace_id": str(row["workspace_id"]),
        "workspace_name": row["workspace_name"],
        "workspace_owner_id": str(row["owner_id"]),
        "workspace_owner_name": row["owner_name"],
        "template_version_id": str(row["template_version_id"]),
        "template_version_name": row["template_version_name"],
        "transition": row["transition"],
        "initiator_id": str(row["initiator_id"]),
        "initiator_name": row["initiator_name"],
        "job": job(row),
        "reason": row["reason"],
        "resources": [],
        **_present(deadline=stamp(row["deadline"])),
        "status": row["build_status"],
        "daily_cost": 0,
        "created_at": stamp(row["created_at"]),
        "updated_at": stamp(row["updated_at"]),
    }


def workspace(row: Row) -> dict[str, Any]:
    """Shape a Workspace from ``workspaces_with_build``."""
    return {
        "id": str(row["w_id"]),
        "created_at": stamp(row["w_created_at"]),
        "updated_at": stamp(row["w_updated_at"]),
        "owner_id": str(row["w_owner_id"]),
        "owner_name": row["owner_name"],
        "organization_id": str(row["w_organization_id"]),
        "organization_name": row["w_organization_name"],
        "template_id": str(row["t_id"]),
        "template_name": row["t_name"],
        "template_display_name": row["t_display_name"],
        "template_icon": row["t_icon"],
        "template_active_version_id": str(row["t_active_version_id"]),
        "latest_build": build(row),
        "outdated": row["template_version_id"] != row["t_active_version_id"],
        "name": row["w_name"],
        **_present(autostart_schedule=row["w_autostart_schedule"], ttl_ms=row["w_ttl_ms"]),
        "last_used_at": stamp(row["w_last_used_at"]),
        "health": {"healthy": True, "failing_agents": []},
        "automatic_updates": row["w_automatic_updates"],
        **_present(dormant_at=stamp(row["w_dormant_at"])),
        "favorite": row["w_favorite"],
        "is_prebuild": False,
    }
