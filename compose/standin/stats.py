"""Numbers about the whole deployment, counted now and then, not per request (coderd/metricscache/metricscache.go)."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

from standin.clock import Clock
from standin.db import Database
from standin.errors import DATABASE_ERRORS
from standin.log import LOG, one_line
from standin.metrics import Metrics
from standin.views import stamp

_EVERY = 30.0  # server seconds, CODER_AGENT_STATS_REFRESH_INTERVAL
_BUILDING = frozenset({"starting", "stopping", "deleting"})
_SQL = """
SELECT build_status, job_status, count(*) AS number FROM workspaces_with_build WHERE NOT w_deleted
GROUP BY build_status, job_status
"""


class DeploymentStats:
    """The newest count, empty until there is one; while the database is away it grows old."""

    def __init__(self, db: Database, clock: Clock, metrics: Metrics) -> None:
        self._metrics = metrics
        self._db = db
        self._every = clock.server(_EVERY)
        self.report: dict[str, Any] = {}

    async def refresh_forever(self) -> None:
        """Count at once, and then every 30 s."""
        while True:
            try:
                rows = await self._db.rows(_SQL)
                self._take({row["build_status"]: row["number"] for row in rows})
                self._metrics.by_status.clear()
                for row in rows:
                    self._metrics.by_status.labels(row["job_status"]).inc(row["number"])
            except DATABASE_ERRORS as error:
                LOG.warning("refresh deployment stats: %s", one_line(error))
            await asyncio.sleep(self._every)

    def _take(self, numbers: dict[str, int]) -> None:
        now = datetime.now(UTC)
        self.report = {
            "aggregated_from": stamp(now - timedelta(minutes=15)),
            "collected_at": stamp(now),
            "next_update_at": stamp(now + timedelta(seconds=self._every)),
            "workspaces": {
                **{name: numbers.get(name, 0) for name in ("pending", "running", "failed", "stopped")},
                "building": sum(number for status, number in numbers.items() if status in _BUILDING),
                "connection_latency_ms": {"P50": -1, "P95": -1},
                "rx_bytes": 0,
                "tx_bytes": 0,
            },
            "session_count": {"vscode": 0, "ssh": 0, "jetbrains": 0, "reconnecting_pty": 0},
        }
