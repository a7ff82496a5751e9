"""The health report (coderd/healthcheck/*.go): database, access URL, WebSocket and daemons are looked at, the rest is plain."""

import asyncio
import statistics
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import aiohttp
from aiohttp import web

from standin.auth import TOKEN_HEADER, find_token
from standin.errors import DATABASE_ERRORS, ApiError
from standin.log import one_line
from standin.routing import Access, Route, answer
from standin.trips import CURRENT
from standin.views import stamp

if TYPE_CHECKING:
    from standin.services import Services

# Wall seconds: they bound waits for networks, whose latency does not scale.
_DATABASE_SECONDS = 5.0  # coderd/healthcheck/database.go: five pings share 5 s
_CLIENT_SECONDS = 10.0
_ECHO_SECONDS = 5.0  # coderd/healthcheck/websocket.go
_REPORT_SECONDS = 30.0  # coderd/coderd.go
_PINGS = 5
_SLOW_SECONDS = 3.0  # of the seeded behaviour
_DAEMONS_SQL = "SELECT * FROM provisioner_daemons WHERE last_seen_at > now() - $1::interval ORDER BY created_at"
_WORSE = ("ok", "warning", "error")


class HealthCache:
    """One report per replica, shared by everybody who asks within the refresh interval."""

    def __init__(self, refresh: float) -> None:
        self._refresh = refresh
        self._lock = asyncio.Lock()
        self._report: dict[str, Any] = {}
        self._made = 0.0

    async def get(self, services: "Services", token: str, *, force: bool) -> dict[str, Any]:
        """Give the cached report, or a new one made with the caller's token; 503 after 30 s."""
        asked = time.monotonic()
        try:
            async with asyncio.timeout(_REPORT_SECONDS), self._lock:
                age = asked - self._made
                if not self._report or age > self._refresh or (force and age >= 0):
                    if (trips := CURRENT.get()) is not None:
                        trips.follow("GET /debug/health, measured")
                    self._report = await _report(services, token)
                    self._made = time.monotonic()
                return self._report
        except TimeoutError:
            text = "Healthcheck is in progress and did not complete in time. Try again in a few seconds."
            raise ApiError(503, text) from None


def _section(severity: str = "ok", error: str | None = None, **facts: Any) -> dict[str, Any]:
    """Shape a section: healthy unless its severity is error."""
    plain = {"healthy": severity != "error", "severity": severity, "warnings": [], "dismissed": False, "error": error}
    return {**plain, **facts}


def _go_duration(seconds: float) -> str:
    return f"{seconds * 1e3:.6g}ms" if seconds < 1 else f"{seconds:.6g}s"


async def _database(services: "Services") -> dict[str, Any]:
    """Take the median of five pings: EDB01 when one fails, EDB02 from the threshold on, in whole ms."""
    threshold = int(services.settings.threshold_database * 1e3)
    times = []
    try:
        async with asyncio.timeout(_DATABASE_SECONDS):
            for _ in range(_PINGS):
                started = time.perf_counter()
                await services.db.value("SELECT 1")
                times.append(time.perf_counter() - started)
    except DATABASE_ERRORS as error:
        facts: dict[str, Any] = {"reachable": False, "latency": "0s", "latency_ms": 0, "threshold_ms": threshold}
        return _section("error", f"EDB01: ping database: {one_line(error)}", **facts)
    median = statistics.median(times)
    milliseconds = int(median * 1e3)
    facts = {
        "reachable": True,
        "latency": _go_duration(median),
        "latency_ms": milliseconds,
        "threshold_ms": threshold,
    }
    if milliseconds < threshold or "health-never-warns" in services.settings.bugs:
        return _section(**facts)
    text = f"Median database ping took {milliseconds} ms, threshold is {threshold} ms."
    return _section("warning", warnings=[{"code": "EDB02", "message": text}], **facts)


async def _access_url(services: "Services") -> dict[str, Any]:
    """Fetch ``/healthz`` through the access URL: EACS03 when it fails, EACS04 when it is not 200."""
    url = services.settings.access_url
    facts: dict[str, Any] = {"access_url": url, "reachable": False, "status_code": 0, "healthz_response": ""}
    try:
        timeout = aiohttp.ClientTimeout(total=_CLIENT_SECONDS)
        async with services.http.get(f"{url}/healthz", timeout=timeout) as response:
            facts |= {"reachable": True, "status_code": response.status, "healthz_response": await response.text()}
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        return _section("error", f"EACS03: get healthz endpoint: {one_line(error)}", **facts)
    if facts["status_code"] == 200:
        return _section(**facts)
    text = f"/healthz did not return 200 OK, but {facts['status_code']}"
    return _section("warning", warnings=[{"code": "EACS04", "message": text}], **facts)


async def _websocket(services: "Services", token: str) -> dict[str, Any]:
    """Echo messages over a WebSocket through the access URL: EWS01 dial, EWS02 echo, EWS03 wrong message."""
    url = f"{services.settings.access_url}/api/v2/debug/ws"
    stage, code = "EWS01: dial websocket", 0
    try:
        async with (
            asyncio.timeout(_ECHO_SECONDS),
            services.http.ws_connect(url, headers={TOKEN_HEADER: token}) as socket,
        ):
            code, stage = 101, "EWS02: echo"
            for number in range(3):
                await socket.send_str(str(number))
                if await socket.receive_str() != str(number):
                    return _section("error", "EWS03: the echo differs", body="", code=code)
    except aiohttp.WSServerHandshakeError as error:
        return _section("error", f"{stage}: {one_line(error)}", body="", code=error.status)
    except (aiohttp.ClientError, OSError, TimeoutError, TypeError) as error:
        return _section("error", f"{stage}: {one_line(error)}", body="", code=code)
    return _section(body="", code=code)


async def _daemons(services: "Services") -> dict[str, Any]:
    """List the daemons that were heard of within the stale interval: EPD01 when there is none."""
    from standin.provisioner import STALE  # noqa: PLC0415 - the bundle holds this module's cache

    stale = timedelta(seconds=services.clock.server(STALE))
    try:
        rows = await services.db.rows(_DAEMONS_SQL, stale)
    except DATABASE_ERRORS as error:
        return _section("error", f"EUNKNOWN: error fetching provisioner daemons: {one_line(error)}", items=[])
    if not rows:
        return _section("error", "EPD01: No active provisioner daemons found!", items=[])
    items = [
        {
            "provisioner_daemon": {
                "id": str(row["id"]),
                "name": row["name"],
                "version": row["version"],
                "api_version": row["api_version"],
                "created_at": stamp(row["created_at"]),
                "last_seen_at": stamp(row["last_seen_at"]),
            },
            "warnings": [],
        }
        for row in rows
    ]
    return _section(items=items)


async def _report(services: "Services", token: str) -> dict[str, Any]:
    if "health-report-slow" in services.settings.bugs:
        await asyncio.sleep(_SLOW_SECONDS)
    database, access_url, websocket, daemons = await asyncio.gather(
        _database(services),
        _access_url(services),
        _websocket(services, token),
        _daemons(services),
    )
    sections = {
        "access_url": access_url,
        "websocket": websocket,
        "database": database,
        "derp": _section(regions={}, netcheck=None, netcheck_logs=[]),
        "workspace_proxy": _section(workspace_proxies={"regions": []}),
        "provisioner_daemons": daemons,
    }
    severity = max((section["severity"] for section in sections.values()), key=_WORSE.index)
    return {
        "time": stamp(datetime.now(UTC)),
        "healthy": severity != "error",
        "severity": severity,
        "coder_version": services.settings.version,
        **sections,
    }


async def debug_health(request: web.Request) -> web.Response:
    """Give the health report; ``?force=true`` makes a new one."""
    from standin.services import services_of  # noqa: PLC0415 - the bundle holds this module's cache

    services = services_of(request)
    force = request.query.get("force") == "true"
    return answer(await services.health.get(services, find_token(request), force=force))


ROUTES = (Route("GET", "/debug/health", debug_health, Access.OWNER),)
