"""What a dashboard asks about the deployment as a whole (coderd/coderd.go, enterprise/coderd/coderd.go)."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from aiohttp import web

from standin.auth import ACTOR
from standin.body import Body
from standin.errors import ApiError, not_found
from standin.lookup import find_organization, find_user
from standin.replicas import replica_view
from standin.routing import Access, Route, answer, message
from standin.services import services_of
from standin.views import stamp

_FEATURES = (
    "access_control",
    "advanced_template_scheduling",
    "appearance",
    "audit_log",
    "browser_only",
    "connection_log",
    "control_shared_ports",
    "custom_roles",
    "external_provisioner_daemons",
    "external_token_encryption",
    "high_availability",
    "multiple_external_auth",
    "multiple_organizations",
    "scim",
    "template_rbac",
    "user_limit",
    "user_role_management",
    "workspace_batch_actions",
    "workspace_prebuilds",
    "workspace_proxy",
)
_PRIMARY_REGION = str(UUID(int=1))
_STATS_SQL = """
SELECT build_status, count(*) AS number FROM workspaces_with_build WHERE NOT w_deleted GROUP BY build_status
"""
_BUILDING = {"starting", "stopping", "deleting"}
_STATS_SECONDS = 30.0  # server seconds, CODER_AGENT_STATS_REFRESH_INTERVAL


async def root(_request: web.Request) -> web.Response:
    """Greet."""
    return message("👋")


async def build_info(request: web.Request) -> web.Response:
    """Give version and identity; known since the start, so it needs no database."""
    services = services_of(request)
    return answer(
        {
            "external_url": "https://github.com/coder/coder",
            "version": services.settings.version,
            "dashboard_url": services.settings.access_url,
            "telemetry": services.settings.telemetry,
            "workspace_proxy": False,
            "agent_api_version": "2.7",
            "provisioner_api_version": "1.12",
            "upgrade_message": "",
            "deployment_id": services.deployment_id,
        },
    )


async def replicas(request: web.Request) -> web.Response:
    """List the live replicas."""
    if not request[ACTOR].owner:
        raise not_found()
    return answer([replica_view(row) for row in await services_of(request).replicas.live()])


async def entitlements(_request: web.Request) -> web.Response:
    """Grant high availability, the one licensed feature the stand-in has."""
    features = {
        name: {
            "entitlement": "entitled" if name == "high_availability" else "not_entitled",
            "enabled": name == "high_availability",
        }
        for name in _FEATURES
    }
    return answer(
        {
            "features": features,
            "warnings": [],
            "errors": [],
            "has_license": True,
            "trial": False,
            "require_telemetry": False,
            "refreshed_at": stamp(datetime.now(UTC)),
        },
    )


async def experiments(_request: web.Request) -> web.Response:
    """List the enabled experiments: none."""
    return answer([])


async def appearance(_request: web.Request) -> web.Response:
    """Give the default looks."""
    looks = {"application_name": "", "logo_url": "", "docs_url": "https://coder.com/docs"}
    return answer({**looks, "announcement_banners": [], "support_links": []})


async def regions(request: web.Request) -> web.Response:
    """List the one region, served by the deployment itself."""
    region = {
        "id": _PRIMARY_REGION,
        "name": "primary",
        "display_name": "Default",
        "icon_url": "",
        "healthy": True,
        "path_app_url": services_of(request).settings.access_url,
        "wildcard_hostname": "",
    }
    return answer({"regions": [region]})


async def deployment_stats(request: web.Request) -> web.Response:
    """Count the workspaces by what they are doing; without agents there are no sessions and no bytes."""
    services = services_of(request)
    numbers = {row["build_status"]: row["number"] for row in await services.db.rows(_STATS_SQL)}
    now = datetime.now(UTC)
    return answer(
        {
            "aggregated_from": stamp(now - timedelta(minutes=15)),
            "collected_at": stamp(now),
            "next_update_at": stamp(now + timedelta(seconds=services.clock.server(_STATS_SECONDS))),
            "workspaces": {
                **{name: numbers.get(name, 0) for name in ("pending", "running", "failed", "stopped")},
                "building": sum(number for status, number in numbers.items() if status in _BUILDING),
                "connection_latency_ms": {"P50": -1, "P95": -1},
                "rx_bytes": 0,
                "tx_bytes": 0,
            },
            "session_count": {"vscode": 0, "ssh": 0, "jetbrains": 0, "reconnecting_pty": 0},
        },
    )


async def deployment_config(request: web.Request) -> web.Response:
    """Give the settings that matter to a load test; durations in nanoseconds, secrets blank."""
    made = services_of(request).settings
    config: dict[str, Any] = {
        "access_url": made.access_url,
        "http_address": f"{made.host}:{made.port}",
        "pg_connection_url": "",
        "pg_conn_max_open": made.pool_max,
        "derp": {"server": {"relay_url": made.relay_url}},
        "provisioner": {"daemons": made.daemons},
        "rate_limit": {"api": made.rate_limit, "disable_all": made.rate_limits_off},
        "healthcheck": {
            "refresh": int(made.health_refresh * 1e9),
            "threshold_database": int(made.threshold_database * 1e9),
        },
        "telemetry": {"enable": made.telemetry},
        "update_check": made.update_check,
        "verbose": made.verbose,
    }
    return answer({"config": config, "options": []})


async def auth_check(request: web.Request) -> web.Response:
    """Say yes to everything an owner asks, and to others for reads and for what is theirs."""
    actor = request[ACTOR]
    body = await Body.read(request)
    checks, verdicts = body.objects("checks"), {}
    for label, check in checks.items():
        if not isinstance(check, dict) or not isinstance(check.get("object"), dict):
            raise ApiError(400, "Validation failed.", validations=[(f"checks[{label}]", "object and action needed")])
        theirs = check["object"].get("owner_id") in {"me", str(actor.id)}
        reads = check.get("action") == "read" and check["object"].get("resource_type") in {"template", "organization"}
        verdicts[label] = actor.owner or theirs or reads
    return answer(verdicts)


async def update_check(request: web.Request) -> web.Response:
    """Say that this version is the newest."""
    return answer({"current": True, "version": services_of(request).settings.version, "url": ""})


async def inbox(_request: web.Request) -> web.Response:
    """List notifications: none."""
    return answer({"notifications": [], "unread_count": 0})


async def quota(request: web.Request) -> web.Response:
    """Give a user's workspace quota: none is set."""
    db = services_of(request).db
    if "organization" in request.match_info:
        await find_organization(db, request.match_info["organization"])
    await find_user(db, request[ACTOR], request.match_info["user"])
    return answer({"credits_consumed": 0, "budget": -1})


ROUTES = (
    Route("GET", "/", root, Access.PUBLIC),
    Route("GET", "/buildinfo", build_info, Access.PUBLIC),
    Route("GET", "/appearance", appearance, Access.PUBLIC),
    Route("GET", "/updatecheck", update_check, Access.PUBLIC),
    Route("GET", "/replicas", replicas),
    Route("GET", "/entitlements", entitlements),
    Route("GET", "/experiments", experiments),
    Route("GET", "/regions", regions),
    Route("GET", "/deployment/stats", deployment_stats, Access.OWNER),
    Route("GET", "/deployment/config", deployment_config, Access.OWNER),
    Route("POST", "/authcheck", auth_check),
    Route("GET", "/notifications/inbox", inbox),
    Route("GET", "/workspace-quota/{user}", quota),
    Route("GET", "/organizations/{organization}/members/{user}/workspace-quota", quota),
)
