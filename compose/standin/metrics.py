"""Prometheus metrics, under Coder's names as far as the stand-in has what they count (docs/admin/integrations/prometheus.md).

Each replica has a registry of its own. There are no `go_` metrics, as this is no Go program, and none about agents.
"""

import time
from collections.abc import Awaitable, Callable
from functools import cached_property

from aiohttp import web
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

from standin.log import LOG
from standin.routing import Handler
from standin.trips import Trips

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_API = "/api/v2"
_LATENCIES = (0.001, 0.005, 0.010, 0.025, 0.050, 0.100, 0.500, 1, 5, 10, 30)  # coderd/httpmw/prometheus.go
_SOCKETS = (0.001, 1, 60, 3600, 54_000, 108_000)
_JOBS = (1, 10, 30, 60, 300, 600, 1800, 3600, 7200, 14_400, 28_800, 57_600, 86_400)  # unverified
_QUERIES = (0.005, 0.010, 0.025, 0.050, 0.100, 0.500, 1, 5, 10)  # unverified


class Metrics:
    """The metrics of one replica."""

    def __init__(self) -> None:
        made = self.registry = CollectorRegistry()
        ProcessCollector(registry=made)
        self.requests = Counter(
            "coderd_api_requests_processed",
            "The total number of processed API requests.",
            ("code", "method", "path"),
            registry=made,
        )
        self.latencies = Histogram(
            "coderd_api_request_latencies_seconds",
            "Latency distribution of requests in seconds.",
            ("method", "path"),
            buckets=_LATENCIES,
            registry=made,
        )
        self.concurrent = Gauge(
            "coderd_api_concurrent_requests", "The number of concurrent API requests.", ("path",), registry=made
        )
        self.sockets = Gauge(
            "coderd_api_concurrent_websockets", "The number of concurrent API websockets.", ("path",), registry=made
        )
        self.socket_durations = Histogram(
            "coderd_api_websocket_durations_seconds",
            "Websocket duration distribution of requests in seconds.",
            ("path",),
            buckets=_SOCKETS,
            registry=made,
        )
        self.builds = Counter(
            "coderd_workspace_builds",
            "The number of workspaces started, updated, or deleted.",
            ("workspace_name", "owner_email", "template_name", "template_version", "action", "status"),
            registry=made,
        )
        self.job_timings = Histogram(
            "coderd_provisionerd_job_timings_seconds",
            "The provisioner job time duration in seconds.",
            ("provisioner", "status"),
            buckets=_JOBS,
            registry=made,
        )
        self.messages = Counter(
            "coder_pubsub_messages", "Total number of messages received from postgres.", ("size",), registry=made
        )
        self.received = Counter(
            "coder_pubsub_received_bytes", "Total number of bytes received across all messages.", registry=made
        )
        self.subscribes = Counter(
            "coder_pubsub_subscribes", "Total number of calls to Subscribe.", ("success",), registry=made
        )
        self.disconnections = Counter(
            "coder_pubsub_disconnections", "Total number of times we disconnected unexpectedly.", registry=made
        )

    def follow(self, name: str, what: str, value: Callable[[], float], **labels: str) -> None:
        """Add a gauge whose value is asked for at each scrape."""
        gauge = Gauge(name, what, tuple(labels), registry=self.registry)
        (gauge.labels(**labels) if labels else gauge).set_function(value)

    @cached_property
    def by_status(self) -> Gauge:
        """The gauge of newest builds, by the status of their jobs."""
        text = "The current number of workspace builds by status."
        return Gauge("coderd_api_workspace_latest_build", text, ("status",), registry=self.registry)

    def watch_queries(self) -> Callable[[Trips | None, float], None]:
        """Add the metrics of single queries; gives what is to be told of each."""
        text = "Latency distribution of queries in seconds."
        seconds = Histogram(
            "coderd_db_query_latencies_seconds", text, ("query",), buckets=_QUERIES, registry=self.registry
        )
        text = "Total number of queries labelled by HTTP route, method, and query name."
        counts = Counter("coderd_db_query_counts", text, ("route", "method", "query"), registry=self.registry)

        def observe(trips: Trips | None, took: float) -> None:
            query = trips.name() if trips is not None else "Background"
            method, _, path = trips.key.partition(",")[0].partition(" ") if trips is not None else ("", "", "")
            seconds.labels(query).observe(took)
            counts.labels(_API + path if path.startswith("/") else "", method if path else "", query).inc()

        return observe

    def render(self) -> bytes:
        """Draw everything in Prometheus' text format."""
        return generate_latest(self.registry)


def _pattern(request: web.Request) -> str:
    """Give the pattern of the route that a request took, as chi names it."""
    resource = request.match_info.route.resource
    path = resource.canonical if resource is not None else ""
    if path.endswith("/{rest}"):
        return "UNKNOWN" if path.startswith(_API) else "STATIC"  # coderd/httpmw/httproute.go (unverified)
    return path.rstrip("/") or "/"


def measured(
    metrics: Metrics, is_socket: Callable[[web.Request], bool]
) -> Callable[..., Awaitable[web.StreamResponse]]:
    """Make the middleware that counts every request."""

    @web.middleware
    async def measure(request: web.Request, handler: Handler) -> web.StreamResponse:
        path, method, socket = _pattern(request), request.method, is_socket(request)
        gauge = (metrics.sockets if socket else metrics.concurrent).labels(path)
        gauge.inc()
        started, code = (
            time.perf_counter(),
            "499",
        )  # nginx' code for a client that has gone; Coder counts it as it comes
        try:
            response = await handler(request)
            code = str(response.status)
        finally:
            took = time.perf_counter() - started
            gauge.dec()
            (metrics.socket_durations.labels(path) if socket else metrics.latencies.labels(method, path)).observe(took)
            metrics.requests.labels(code, method, path).inc()
        return response

    return measure


async def serve_metrics(metrics: Metrics, host: str, port: int) -> web.AppRunner | None:
    """Listen for scrapes of any path; None, and a line in the log, when the address is taken."""

    async def scrape(_request: web.Request) -> web.Response:
        return web.Response(body=metrics.render(), headers={"Content-Type": CONTENT_TYPE})

    app = web.Application()
    app.router.add_get("/{rest:.*}", scrape)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port, reuse_address=True).start()
    except OSError as error:
        LOG.error("prometheus: cannot listen on %s:%d: %s", host, port, error)  # Coder goes on without it, too
        await runner.cleanup()
        return None
    LOG.info("prometheus listens at http://%s:%d", host, port)
    return runner
