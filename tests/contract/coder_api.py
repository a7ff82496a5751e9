"""The calls of Coder's API that the harness, its meter, its load and its sessions make, as data.

One row is one method and path: who may call, what goes in, which codes come back, which fields a client may rely on. It
says what a client needs, not all that Coder answers. Sections are those of the sheet of facts about Coder's API that the
project was built from; paths carry Coder's own names for their parts (coderd/coderd.go), as its metrics do.
`test_coder_api.py` drives a real replica of the stand-in with every row, and `find` tells other tests whether a request
that they saw is in the table.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import Enum
from functools import cache
from typing import Final

API: Final = "/api/v2"
TOKEN_HEADER: Final = "Coder-Session-Token"  # noqa: S105 - the name of a header
"""The carrier that every part of this project uses; cookie, query and bearer work too, and only a cookie needs CSRF."""


class Auth(Enum):
    """Whom a call serves."""

    NONE = "anybody"
    USER = "whoever has a valid token; 401 otherwise"
    OWNER = "the owner role; others get 403, or 404 where Coder hides what they may not see"


class Kind(Enum):
    """What comes back."""

    JSON = "application/json; charset=utf-8"
    TEXT = "text"
    EMPTY = "no body"
    SOCKET = "101, then WebSocket frames"
    STREAM = "text/event-stream"


@dataclass(frozen=True)
class Call:
    """One call. `body` and `query` are fields that may be sent; `*` in front means the call is 400 without it.

    `fields` are dotted paths into the answer, `[]` steps into the first item of a list. Of a socket or stream they are
    paths into its first frame that has them.
    """

    method: str
    path: str
    section: str
    auth: Auth = Auth.USER
    body: tuple[str, ...] = ()
    query: tuple[str, ...] = ()
    ok: tuple[int, ...] = (200,)
    errors: tuple[int, ...] = ()
    fields: tuple[str, ...] = ()
    kind: Kind = Kind.JSON
    limit: int | None = None
    """Requests per minute where it is not the deployment's own limit."""
    hidden: int = 403
    """What a caller without the role gets, where `auth` is OWNER."""
    required: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "required", tuple(name[1:] for name in self.body if name[0] == "*"))

    @property
    def name(self) -> str:
        return f"{self.method} {self.path}"


def get(path: str, section: str, **more: object) -> Call:
    return Call("GET", path, section, **more)  # type: ignore[arg-type]


def post(path: str, section: str, **more: object) -> Call:
    return Call("POST", path, section, **{"ok": (201,), **more})  # type: ignore[arg-type]


def put(path: str, section: str, **more: object) -> Call:
    return Call("PUT", path, section, **{"ok": (204,), "kind": Kind.EMPTY, **more})  # type: ignore[arg-type]


def patch(path: str, section: str, **more: object) -> Call:
    return Call("PATCH", path, section, **more)  # type: ignore[arg-type]


_PLAIN: Final = {"auth": Auth.NONE, "kind": Kind.TEXT}
_OPEN: Final = {"auth": Auth.NONE}
_OWNER: Final = {"auth": Auth.OWNER}

JOB: Final = ("id", "created_at", "status", "type", "input", "queue_position", "queue_size", "organization_id")
BUILD: Final = (
    "id", "build_number", "workspace_id", "workspace_name", "workspace_owner_id", "workspace_owner_name",
    "template_version_id", "template_version_name", "transition", "initiator_id", "initiator_name", "reason", "resources",
    "status", "daily_cost", "created_at", "updated_at", *(f"job.{name}" for name in JOB),
)  # fmt: skip
WORKSPACE: Final = (
    "id", "name", "owner_id", "owner_name", "organization_id", "template_id", "template_name", "outdated", "last_used_at",
    "template_active_version_id", "health.healthy", "health.failing_agents", "automatic_updates", "favorite",
    "is_prebuild", "created_at", "updated_at", *(f"latest_build.{name}" for name in BUILD),
)  # fmt: skip
USER: Final = (
    "id", "username", "email", "name", "status", "created_at", "updated_at", "last_seen_at", "organization_ids", "roles",
    "login_type", "avatar_url",
)  # fmt: skip
TEMPLATE: Final = (
    "id", "name", "display_name", "organization_id", "organization_name", "active_version_id", "active_user_count",
    "provisioner", "build_time_stats.start", "default_ttl_ms", "activity_bump_ms", "deprecated", "deprecation_message",
    "require_active_version", "use_classic_parameter_flow", "created_at", "updated_at",
)  # fmt: skip
VERSION: Final = (
    "id", "name", "organization_id", "readme", "message", "created_by.id", "archived", "created_at", "updated_at",
    *(f"job.{name}" for name in JOB),
)  # fmt: skip
ORGANIZATION: Final = ("id", "name", "display_name", "is_default", "created_at", "updated_at")
LINE: Final = ("id", "created_at", "log_source", "log_level", "stage", "output")
INBOX: Final = (
    "id",
    "user_id",
    "template_id",
    "targets",
    "title",
    "content",
    "icon",
    "actions",
    "read_at",
    "created_at",
)
TIMING: Final = ("job_id", "stage", "source", "action", "resource", "started_at", "ended_at")
AUDIT: Final = (
    "id", "request_id", "time", "ip", "user_agent", "resource_type", "resource_id", "resource_target", "resource_icon",
    "action", "diff", "status_code", "additional_fields", "description", "resource_link", "is_deleted", "organization.id",
    "user.username",
)  # fmt: skip
REGION: Final = ("id", "name", "display_name", "icon_url", "healthy", "path_app_url", "wildcard_hostname")


def inside(where: str, fields: tuple[str, ...]) -> tuple[str, ...]:
    """The same fields, one step down."""
    return tuple(f"{where}.{name}" for name in fields)


CALLS: Final = (
    # Outside the API: the balancer, the replicas among each other, the meter's fresh and pinned lanes.
    get("/healthz", "2", **_PLAIN),
    get("/latency-check", "2", **_PLAIN),
    get("/derp/latency-check", "2", auth=Auth.NONE, kind=Kind.EMPTY),
    # Bootstrap.
    get(f"{API}/users/first", "1", **_OPEN, errors=(404,), fields=("message",)),
    post(f"{API}/users/first", "1", **_OPEN, body=("*email", "*username", "*password", "name", "trial"),
         errors=(400, 409), fields=("user_id", "organization_id")),
    post(f"{API}/users/login", "1", **_OPEN, body=("*email", "*password"), errors=(400, 401, 429),
         fields=("session_token",), limit=60),
    post(f"{API}/users/logout", "1", ok=(200,), fields=("message",)),
    get(f"{API}/users/authmethods", "1", **_OPEN, fields=("password.enabled", "github.enabled", "oidc.enabled")),
    post(f"{API}/users", "1", **_OWNER, errors=(400, 409), fields=USER,
         body=("*username", "email", "password", "login_type", "organization_ids", "user_status", "roles", "name")),
    get(f"{API}/users", "1", **_OWNER, query=("q", "limit", "offset"), errors=(400,),
        fields=("count", *inside("users.[]", USER))),
    Call("DELETE", f"{API}/users/{{user}}", "1", **_OWNER, ok=(200,), errors=(403, 404, 417), fields=("message",)),
    post(f"{API}/users/{{user}}/keys", "1", errors=(404,), fields=("key",)),
    post(f"{API}/users/{{user}}/keys/tokens", "1", body=("token_name", "lifetime"), errors=(400, 404, 409), fields=("key",)),
    get(f"{API}/users/{{user}}/keys/tokens", "1", errors=(404,),
        fields=inside("[]", ("id", "user_id", "token_name", "created_at", "expires_at", "last_used", "lifetime_seconds"))),
    Call("DELETE", f"{API}/users/{{user}}/keys/{{keyid}}", "1", ok=(204,), errors=(404,), kind=Kind.EMPTY),
    post(f"{API}/files", "3", ok=(201, 200), errors=(400, 429), fields=("hash",), limit=12),
    post(f"{API}/organizations/{{organization}}/templateversions", "3", **_OWNER, errors=(400, 404), fields=VERSION,
         body=("*storage_method", "file_id", "*provisioner", "name", "message", "template_id", "tags")),
    get(f"{API}/templateversions/{{templateversion}}", "3", errors=(404,), fields=VERSION),
    post(f"{API}/organizations/{{organization}}/templates", "3", **_OWNER, errors=(400, 404, 409, 412), fields=TEMPLATE,
         body=("*name", "*template_version_id", "display_name", "description", "icon", "default_ttl_ms", "activity_bump_ms")),
    Call("DELETE", f"{API}/templates/{{template}}", "3", **_OWNER, ok=(200,), errors=(400, 404), fields=("message",)),
    # Writes of the history, and what settles them.
    post(f"{API}/users/{{user}}/workspaces", "4", errors=(400, 404, 409), fields=WORKSPACE,
         body=("*name", "template_id", "template_version_id", "autostart_schedule", "ttl_ms", "automatic_updates")),
    post(f"{API}/organizations/{{organization}}/members/{{user}}/workspaces", "4", errors=(400, 404, 409), fields=WORKSPACE,
         body=("*name", "template_id", "template_version_id", "autostart_schedule", "ttl_ms", "automatic_updates")),
    post(f"{API}/workspaces/{{workspace}}/builds", "4", body=("*transition", "template_version_id", "reason"),
         errors=(400, 404, 409), fields=BUILD),
    get(f"{API}/workspaces/{{workspace}}", "4", query=("include_deleted",), errors=(404, 410), fields=WORKSPACE),
    get(f"{API}/workspaces/{{workspace}}/builds", "4", query=("limit", "offset"), errors=(404,), fields=inside("[]", BUILD)),
    get(f"{API}/workspacebuilds/{{workspacebuild}}", "4", errors=(404,), fields=BUILD),
    # The dashboard's shell.
    get(f"{API}/", "2", **_OPEN, fields=("message",)),
    get(f"{API}/users/{{user}}", "1", errors=(404,), fields=USER),
    get(f"{API}/buildinfo", "2", **_OPEN, fields=("version", "external_url", "dashboard_url", "deployment_id", "telemetry",
        "agent_api_version", "provisioner_api_version", "workspace_proxy", "upgrade_message")),
    get(f"{API}/entitlements", "2", fields=("features.high_availability.entitlement", "features.audit_log.enabled", "trial",
        "warnings", "errors", "has_license", "require_telemetry", "refreshed_at")),
    get(f"{API}/experiments", "2"),
    get(f"{API}/appearance", "2", **_OPEN,
        fields=("application_name", "logo_url", "docs_url", "announcement_banners", "support_links")),
    get(f"{API}/organizations", "1", fields=inside("[]", ORGANIZATION)),
    get(f"{API}/organizations/{{organization}}", "1", errors=(404,), fields=ORGANIZATION),
    get(f"{API}/users/{{user}}/organizations", "1", errors=(404,), fields=inside("[]", ORGANIZATION)),
    post(f"{API}/authcheck", "7", ok=(200,), body=("checks",), errors=(400,)),
    get(f"{API}/regions", "2", fields=inside("regions.[]", REGION)),
    get(f"{API}/updatecheck", "2", **_OPEN, fields=("current", "version", "url")),
    get(f"{API}/deployment/stats", "2", **_OWNER, fields=("aggregated_from", "collected_at", "next_update_at",
        *inside("workspaces", ("pending", "building", "running", "failed", "stopped", "connection_latency_ms.P50")),
        *inside("session_count", ("vscode", "ssh", "jetbrains", "reconnecting_pty")))),
    get(f"{API}/deployment/config", "2", **_OWNER, fields=("config", "options")),
    get(f"{API}/debug/health", "2", **_OWNER, query=("force",), errors=(503,), fields=("time", "healthy", "severity",
        "coder_version", *inside("database", ("healthy", "severity", "warnings", "reachable", "latency_ms", "threshold_ms")),
        "access_url.status_code", "websocket.code")),
    get(f"{API}/debug/metrics", "9", **_OWNER, kind=Kind.TEXT),
    get(f"{API}/replicas", "2", **_OWNER, hidden=404, fields=inside("[]", ("id", "hostname", "created_at", "relay_address",
        "region_id", "error", "database_latency"))),
    # The dashboard's pages.
    get(f"{API}/workspaces", "4", query=("q", "limit", "offset"), errors=(400,),
        fields=("count", *inside("workspaces.[]", WORKSPACE))),
    get(f"{API}/users/{{user}}/workspace/{{workspacename}}", "4", query=("include_deleted",), errors=(404, 410),
        fields=WORKSPACE),
    get(f"{API}/templates", "3", fields=inside("[]", TEMPLATE)),
    get(f"{API}/organizations/{{organization}}/templates", "3", errors=(404,), fields=inside("[]", TEMPLATE)),
    get(f"{API}/organizations/{{organization}}/templates/{{templatename}}", "3", errors=(404,), fields=TEMPLATE),
    get(f"{API}/templates/{{template}}", "3", errors=(404,), fields=TEMPLATE),
    get(f"{API}/workspace-quota/{{user}}", "4", errors=(404,), fields=("credits_consumed", "budget")),
    get(f"{API}/organizations/{{organization}}/members/{{user}}/workspace-quota", "4", errors=(404,),
        fields=("credits_consumed", "budget")),
    get(f"{API}/organizations/{{organization}}/settings/workspace-sharing", "7", errors=(404,), fields=("sharing_disabled",)),
    get(f"{API}/workspacebuilds/{{workspacebuild}}/timings", "4", errors=(404,), fields=("agent_script_timings",
        "agent_connection_timings", *inside("provisioner_timings.[]", TIMING))),
    get(f"{API}/workspaces/{{workspace}}/timings", "4", errors=(404,), fields=inside("provisioner_timings.[]", TIMING)),
    get(f"{API}/workspaces/{{workspace}}/resolve-autostart", "4", errors=(404,), fields=("parameter_mismatch",)),
    get(f"{API}/workspaces/{{workspace}}/port-share", "4", errors=(404,), fields=("shares",)),
    get(f"{API}/deployment/ssh", "2", fields=("hostname_prefix", "hostname_suffix", "ssh_config_options")),
    get(f"{API}/templates/examples", "7", **_OWNER, fields=inside("[]", ("id", "name", "description", "tags", "markdown"))),
    *(get(f"{API}/templateversions/{{templateversion}}/{part}", "3", errors=(404,))
      for part in ("rich-parameters", "presets", "variables", "resources", "external-auth")),
    get(f"{API}/applications/host", "6", fields=("host",)),
    get(f"{API}/workspaceproxies", "2", **_OWNER, fields=inside("regions.[]", (*REGION, "version", "status.status"))),
    get(f"{API}/users/{{user}}/appearance", "7", errors=(404,), fields=("theme_preference", "terminal_font")),
    get(f"{API}/users/{{user}}/preferences", "7", errors=(404,), fields=("task_notification_alert_dismissed",)),
    put(f"{API}/users/{{user}}/appearance", "7", ok=(200,), kind=Kind.JSON, body=("theme_preference", "terminal_font"),
        errors=(400, 404), fields=("theme_preference", "terminal_font")),
    get(f"{API}/organizations/{{organization}}/members", "1", errors=(404,), fields=inside("[]", ("user_id", "username",
        "email", "roles", "global_roles", "status"))),
    get(f"{API}/organizations/{{organization}}/paginated-members", "1", errors=(404,), query=("limit", "offset"),
        fields=("count", "members.[].username")),
    get(f"{API}/audit", "8", **_OWNER, query=("q", "*limit", "offset"), errors=(400,), fields=("count", "count_cap",
        *inside("audit_logs.[]", AUDIT))),
    post(f"{API}/audit/testgenerate", "8", **_OWNER, ok=(204,), kind=Kind.EMPTY),
    get(f"{API}/connectionlog", "8", **_OWNER, query=("q", "*limit", "offset"), fields=("connection_logs", "count")),
    # What people do on a workspace's page, and what the command line says once a minute.
    put(f"{API}/workspaces/{{workspace}}/autostart", "4", body=("schedule",), errors=(400, 404)),
    put(f"{API}/workspaces/{{workspace}}/ttl", "4", body=("ttl_ms",), errors=(400, 404)),
    put(f"{API}/workspaces/{{workspace}}/autoupdates", "4", body=("automatic_updates",), errors=(400, 404)),
    put(f"{API}/workspaces/{{workspace}}/extend", "4", ok=(200,), kind=Kind.JSON, body=("*deadline",), errors=(400, 404, 409),
        fields=("message",)),
    put(f"{API}/workspaces/{{workspace}}/dormant", "4", ok=(200, 304), kind=Kind.JSON, body=("dormant",), errors=(404,),
        fields=WORKSPACE),
    put(f"{API}/workspaces/{{workspace}}/favorite", "4", errors=(403, 404)),
    Call("DELETE", f"{API}/workspaces/{{workspace}}/favorite", "4", ok=(204,), errors=(403, 404), kind=Kind.EMPTY),
    post(f"{API}/workspaces/{{workspace}}/usage", "4", ok=(204,), kind=Kind.EMPTY, body=("agent_id", "app_name"),
         errors=(404,)),
    patch(f"{API}/workspacebuilds/{{workspacebuild}}/cancel", "4", query=("expect_status",), errors=(400, 404, 412),
          fields=("message",)),
    patch(f"{API}/templates/{{template}}/versions", "3", **_OWNER, body=("*id",), errors=(400, 404, 412),
          fields=("message",)),
    # The queue.
    get(f"{API}/organizations/{{organization}}/provisionerjobs", "3", query=("status", "limit", "ids", "initiator"),
        errors=(400, 404), fields=inside("[]", (*JOB, "metadata.template_name"))),
    get(f"{API}/organizations/{{organization}}/provisionerjobs/{{job}}", "3", errors=(404,), fields=JOB),
    get(f"{API}/organizations/{{organization}}/provisionerdaemons", "3", query=("limit",), errors=(404,), fields=inside("[]",
        ("id", "name", "version", "api_version", "provisioners", "tags", "status", "last_seen_at", "current_job",
         "previous_job", "key_name"))),
    get(f"{API}/workspacebuilds/{{workspacebuild}}/logs", "4", query=("after", "follow"), errors=(400, 404),
        fields=inside("[]", LINE)),
    get(f"{API}/templateversions/{{templateversion}}/logs", "4", query=("after", "follow"), errors=(400, 404),
        fields=inside("[]", LINE)),
    # The inbox.
    get(f"{API}/notifications/inbox", "7", query=("targets", "templates", "read_status", "starting_before"), errors=(400,),
        fields=("unread_count", *inside("notifications.[]", INBOX))),
    put(f"{API}/notifications/inbox/{{id}}/read-status", "7", ok=(200,), kind=Kind.JSON, body=("is_read",), errors=(404,),
        fields=("unread_count", *inside("notification", INBOX))),
    put(f"{API}/notifications/inbox/mark-all-as-read", "7"),
    # Sockets of sessions, of the meter's ws lanes and of the health report.
    get(f"{API}/workspaces/{{workspace}}/watch-ws", "4", errors=(404,), kind=Kind.SOCKET,
        fields=("type", *inside("data", WORKSPACE))),
    get(f"{API}/workspaces/{{workspace}}/watch", "4", errors=(404,), kind=Kind.STREAM, fields=WORKSPACE),
    get(f"{API}/notifications/inbox/watch", "7", kind=Kind.SOCKET, query=("targets", "templates", "read_status", "format")),
    get(f"{API}/templateversions/{{templateversion}}/dynamic-parameters", "3", kind=Kind.SOCKET, errors=(404,),
        fields=("id", "diagnostics", "parameters")),
    get(f"{API}/debug/ws", "2", **_OWNER, kind=Kind.SOCKET),
)  # fmt: skip


@cache
def _patterns() -> tuple[tuple[str, re.Pattern[str], Call], ...]:
    # Literal paths first: /users/first is not a user called first.
    ordered = sorted(CALLS, key=lambda call: call.path.count("{"))
    return tuple((call.method, re.compile(re.sub(r"\{[a-z]+\}", "[^/]+", call.path)), call) for call in ordered)


def find(method: str, path: str) -> Call | None:
    """The row of a request, None where the table has none. `path` may carry a query, which is not looked at."""
    plain = path.partition("?")[0]
    return next((call for verb, shape, call in _patterns() if verb == method and shape.fullmatch(plain)), None)
