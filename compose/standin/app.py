"""The HTTP application of one replica: the API, and what lies outside it (coderd/coderd.go)."""

from aiohttp import web

from standin import (
    accounts,
    audit,
    builds,
    health,
    inbox,
    jobs,
    keys,
    logs,
    site,
    templates,
    users,
    version_parts,
    watch,
    workspace_settings,
    workspaces,
)
from standin.gate import errors_as_answers, guard, is_upgrade
from standin.metrics import measured
from standin.routing import Route, answer
from standin.services import SERVICES, Services
from standin.trips import CURRENT

API = "/api/v2"
_BODY_LIMIT = 100 * 1024 * 1024  # coderd/files.go: 100 MiB
_PAGE = "<!doctype html><title>coder-chaos stand-in, not Coder</title><p>This server has an API, no dashboard.</p>\n"

ROUTES: tuple[Route, ...] = (
    *site.ROUTES,
    *accounts.ROUTES,
    *version_parts.ROUTES,
    *users.ROUTES,
    *keys.ROUTES,
    *templates.ROUTES,
    *watch.ROUTES,
    *workspaces.ROUTES,
    *workspace_settings.ROUTES,
    *builds.ROUTES,
    *jobs.ROUTES,
    *logs.ROUTES,
    *inbox.ROUTES,
    *audit.ROUTES,
    *health.ROUTES,
)


async def _healthz(_request: web.Request) -> web.Response:
    """Say that the process serves HTTP; on purpose nothing else is checked."""
    return web.Response(text="OK")


async def _latency_check(_request: web.Request) -> web.Response:
    return web.Response(text="OK", headers={"Access-Control-Allow-Origin": "*", "Timing-Allow-Origin": "*"})


async def _derp_latency_check(_request: web.Request) -> web.Response:
    return web.Response(headers={"Access-Control-Allow-Origin": "*"})


async def _no_such_route(_request: web.Request) -> web.Response:
    return answer({"message": "Route not found."}, 404)


async def _dashboard(_request: web.Request) -> web.Response:
    return web.Response(text=_PAGE, content_type="text/html")


def make_app(services: Services) -> web.Application:
    """Build the application; it answers at once, whatever the state of the database."""
    counted = measured(services.metrics, is_upgrade)
    app = web.Application(middlewares=[counted, errors_as_answers], client_max_size=_BODY_LIMIT)
    app[SERVICES] = services
    version, show_trips = services.settings.version, services.settings.trips_header

    async def add_headers(_request: web.Request, response: web.StreamResponse) -> None:
        response.headers["X-Coder-Build-Version"] = version
        response.headers["X-Content-Type-Options"] = "nosniff"
        if show_trips and (trips := CURRENT.get()) is not None:
            response.headers["X-Standin-Db-Trips"] = str(trips.made)

    app.on_response_prepare.append(add_headers)
    for path, handler in (
        ("/healthz", _healthz),
        ("/latency-check", _latency_check),
        ("/derp/latency-check", _derp_latency_check),
    ):
        app.router.add_get(path, handler)
    for route in ROUTES:
        app.router.add_route(route.method, API + route.path, guard(route, services))
    app.router.add_route("*", API, _no_such_route)
    app.router.add_route("*", API + "/{rest:.*}", _no_such_route)
    app.router.add_get("/{rest:.*}", _dashboard)
    return app
