"""What a dashboard asks about the deployment as a whole (coderd/coderd.go, enterprise/coderd/coderd.go)."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from aiohttp import web

from standin.auth import ACTOR
from standin.body import Body
from standin.errors import ApiError, not_found
from standin.lookup import find_organization, find_user
from standin.metrics import CONTENT_TYPE
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
_LICENSED = {"audit_log", "high_availability"}
_PRIMARY_REGION = str(UUID(int=1))


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
    """Grant what the stand-in has of the licensed features."""
    features = {
        name: {
            "entitlement": "entitled" if name in _LICENSED else "not_entitled",
            "enabled": name in _LICENSED,
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


def _region(request: web.Request) -> dict[str, Any]:
    return {
        "id": _PRIMARY_REGION,
        "name": "primary",
        "display_name": "Default",
        "icon_url": "",
        "healthy": True,
        "path_app_url": services_of(request).settings.access_url,
        "wildcard_hostname": "",
    }


async def regions(request: web.Request) -> web.Response:
    """List the one region, served by the deployment itself."""
    return answer({"regions": [_region(request)]})


async def workspace_proxies(request: web.Request) -> web.Response:
    """List the primary, which is all there is, as its own proxy."""
    now = stamp(datetime.now(UTC))
    status: dict[str, Any] = {"status": "ok", "report": {"errors": [], "warnings": []}, "checked_at": now}
    more = {"derp_enabled": False, "derp_only": False, "deleted": False, "created_at": now, "updated_at": now}
    version = services_of(request).settings.version
    return answer({"regions": [{**_region(request), **more, "version": version, "status": status}]})


async def deployment_stats(request: web.Request) -> web.Response:
    """Count the workspaces by what they are doing, as of the last refresh; they have no sessions and no bytes."""
    report = services_of(request).stats.report
    if not report:
        raise ApiError(400, "Deployment stats are still processing!")
    return answer(report)


async def deployment_ssh(_request: web.Request) -> web.Response:
    """Give what a client writes into its SSH configuration."""
    return answer({"hostname_prefix": "coder.", "hostname_suffix": "coder", "ssh_config_options": {}})


async def apps_host(_request: web.Request) -> web.Response:
    """Give the wildcard host of subdomain apps: none is set."""
    return answer({"host": ""})


async def connection_log(_request: web.Request) -> web.Response:
    """List connections to workspaces: without agents there is none."""
    return answer({"connection_logs": [], "count": 0, "count_cap": 0})


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


async def quota(request: web.Request) -> web.Response:
    """Give a user's workspace quota: none is set."""
    db = services_of(request).db
    if "organization" in request.match_info:
        await find_organization(db, request.match_info["organization"])
    await find_user(db, request[ACTOR], request.match_info["user"])
    return answer({"credits_consumed": 0, "budget": -1})


async def debug_metrics(request: web.Request) -> web.Response:
    """Give the metrics that the scraper's own listener gives, whether or not there is one."""
    return web.Response(body=services_of(request).metrics.render(), headers={"Content-Type": CONTENT_TYPE})


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
    Route("GET", "/debug/metrics", debug_metrics, Access.OWNER),
    Route("GET", "/workspaceproxies", workspace_proxies, Access.OWNER),
    Route("GET", "/deployment/ssh", deployment_ssh),
    Route("GET", "/applications/host", apps_host),
    Route("GET", "/connectionlog", connection_log, Access.OWNER),
    Route("GET", "/workspace-quota/{user}", quota),
    Route("GET", "/organizations/{organization}/members/{user}/workspace-quota", quota),
)
