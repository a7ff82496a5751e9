"""A replica that is too far from its database must say so in its health report, and one that is near enough must not."""

from harness import Red, Run, each, scenario
from harness.faults import DbLatency
from harness.objectives import HealthTells, Latency, WritesKept
from harness.timings import api_p95, database_far

NEAR_MS, FAR_MS = 12, 18
"""Just below and just above where a replica begins to warn of its database."""
QUIET_S = 20.0
"""Pings of a busy machine are slow now and then; a replica that is near enough has this long to say so."""


@scenario(
    tags=["nightly"],
    rules=["4d", "#7749"],
    red_by=[Red("health-never-warns", "health-tells", twin="health-report-slow")],
    objectives=[
        WritesKept(),
        HealthTells(warns_at=database_far, near_ms=NEAR_MS, far_ms=FAR_MS),
        Latency(at_most=api_p95, phase="calm"),
    ],
)
async def db_latency_health(run: Run) -> None:
    await run.baseline()
    await run.ask_health(until_quiet_s=QUIET_S)
    for rtt_ms in (NEAR_MS, FAR_MS):
        async with run.fault(DbLatency(rtt_ms=rtt_ms), at=each("coder")):
            await run.ask_health(until_quiet_s=QUIET_S if rtt_ms == NEAR_MS else 0.0)
    await run.settle()
    await run.ask_health(until_quiet_s=QUIET_S)
