"""What the stand-in counts, as a scraper reads it."""

import asyncio
from typing import Any

import asyncpg
import httpx
from prometheus_client.parser import text_string_to_metric_families
from standin.queries import PLANS
from standin.server import Replica
from standin_lab import Client, frames, settings_for, site, until
from standin_postgres import free_port


class Scrape:
    """One scrape: samples by name and labels."""

    def __init__(self, text: str) -> None:
        self._samples = {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }

    def value(self, name: str, **labels: str) -> float:
        return self._samples.get((name, frozenset(labels.items())), 0.0)

    def names(self) -> set[str]:
        return {name for name, _ in self._samples}

    def rows(self, name: str) -> dict[frozenset[tuple[str, str]], float]:
        return {labels: value for (known, labels), value in self._samples.items() if known == name}


async def _scrape(owner: Client) -> Scrape:
    answer = await owner.api("GET", "/debug/metrics")
    assert answer.status_code == 200
    return Scrape(answer.text)


def test_requests_and_sockets_by_the_pattern_of_their_route(database: str) -> None:
    async def check() -> None:
        async with site(database) as up:
            workspace = await up.workspace("one")
            path, watch = "/api/v2/workspaces/{workspace}", "/api/v2/workspaces/{workspace}/watch-ws"
            before = await _scrape(up.owner)
            for _ in range(3):
                await up.owner.get(f"/workspaces/{workspace}")
            await up.owner.api("GET", "/workspaces/nonsense")
            await up.owner.api("GET", "/nothing")
            await up.owner.call("GET", "/some/page")
            async with up.owner.watch(workspace) as socket:
                await frames(socket, 2)
                during = await _scrape(up.owner)
            labels: dict[str, Any] = {"method": "GET", "path": path}
            counted = "coderd_api_requests_processed_total"
            assert during.value(counted, code="200", **labels) - before.value(counted, code="200", **labels) == 3
            assert during.value(counted, code="400", **labels) == 1
            assert during.value(counted, code="404", method="GET", path="UNKNOWN") == 1
            assert during.value(counted, code="200", method="GET", path="STATIC") == 1
            took = "coderd_api_request_latencies_seconds_count"
            assert during.value(took, **labels) - before.value(took, **labels) == 4
            assert during.value("coderd_api_concurrent_requests", path="/api/v2/debug/metrics") == 1
            assert during.value("coderd_api_concurrent_websockets", path=watch) == 1

            async def closed() -> bool:
                after = await _scrape(up.owner)
                lasted = after.value("coderd_api_websocket_durations_seconds_count", path=watch)
                return (after.value("coderd_api_concurrent_websockets", path=watch), lasted) == (0, 1)

            await until(closed)
            assert "process_resident_memory_bytes" in during.names()
            assert not {name for name in during.names() if name.startswith("go_")}

    asyncio.run(check())


def test_work_and_messages(database: str) -> None:
    async def check() -> None:
        async with site(database, scale=0.02) as up:
            workspace = await up.workspace("one")
            await up.owner.post(f"/workspaces/{workspace}/builds", {"transition": "stop"})
            await up.settled(workspace, "stopped")

            async def counted() -> bool:
                seen = (await _scrape(up.owner)).rows("coderd_workspace_builds_total")
                return sorted(dict(labels)["action"] for labels in seen) == ["start", "stop"]

            await until(counted)

            async def refreshed() -> bool:
                return (await _scrape(up.owner)).value("coderd_api_workspace_latest_build", status="succeeded") == 1

            await until(refreshed)
            seen = await _scrape(up.owner)
            jobs = seen.value("coderd_provisionerd_job_timings_seconds_count", provisioner="echo", status="success")
            assert jobs == 3  # the import of the template version, too
            assert seen.value("coderd_provisionerd_num_daemons") == 3
            assert seen.value("coderd_provisionerd_jobs_current", provisioner="echo") == 0
            assert seen.value("coder_pubsub_messages_total", size="normal") > 0
            assert seen.value("coder_pubsub_subscribes_total", success="true") > 0

    asyncio.run(check())


def test_a_lost_listen_connection_is_told(database: str) -> None:
    async def check() -> None:
        async with site(database, scale=1.0) as up:
            assert (await _scrape(up.owner)).value("coder_pubsub_connected") == 1
            admin = await asyncpg.connect(database)
            try:
                ended = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'"
                await admin.fetchval(f"{ended} AND datname = current_database()")
            finally:
                await admin.close()

            async def counted() -> bool:
                seen = await _scrape(up.owner)
                return (
                    seen.value("coder_pubsub_disconnections_total") == 1 and seen.value("coder_pubsub_connected") == 1
                )

            await until(counted)

    asyncio.run(check())


def test_queries_by_route_and_name_when_asked_for(database: str) -> None:
    async def check() -> None:
        async with site(database, collect_db_metrics=True) as up:
            before = await _scrape(up.owner)
            await up.owner.get("/organizations")
            after, counts = await _scrape(up.owner), "coderd_db_query_counts_total"
            labels = {"route": "/api/v2/organizations", "method": "GET"}
            for name in PLANS["GET /organizations"].names():
                more = after.value(counts, query=name, **labels) - before.value(counts, query=name, **labels)
                assert more == 1, name
            assert after.value("coderd_db_query_latencies_seconds_count", query="GetOrganizations") >= 1

    asyncio.run(check())


def test_queries_are_not_counted_unless_asked_for(database: str) -> None:
    async def check() -> None:
        async with site(database) as up:
            assert "coderd_db_query_counts_total" not in (await _scrape(up.owner)).names()

    asyncio.run(check())


def test_the_scrapers_own_listener(database: str) -> None:
    async def check() -> None:
        port = free_port()
        async with site(database, prometheus=("127.0.0.1", port)) as up, httpx.AsyncClient(trust_env=False) as http:
            for path in ("/", "/metrics"):
                answer = await http.get(f"http://127.0.0.1:{port}{path}")
                assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
                assert Scrape(answer.text).value("coder_pubsub_connected") == 1
            # A second replica cannot have the address, and starts all the same.
            replica = Replica(settings_for(database, prometheus=("127.0.0.1", port)))
            await replica.start()
            assert len(await up.owner.get("/replicas")) == 2
            await replica.stop()

    asyncio.run(check())
