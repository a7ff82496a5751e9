"""A database that is up to 10 ms away must be near enough; how far is too far shall be known."""

from harness import Red, Run, each, scenario
from harness.faults import DbLatency
from harness.objectives import HealthTells, Latency, LatencyByDose, WritesKept
from harness.timings import api_p95, database_far

DOSES_MS = (5, 10, 12, 15, 18, 25, 50, 100)
NEAR_MS, FAR_MS = 12, 18
"""Just below and just above where a replica begins to warn of its database."""
QUIET_S = 20.0
"""Pings of a busy machine are slow now and then; a replica that is near enough has this long to say so."""


@scenario(
    tags=["nightly"],
    rules=["4d", "#11897", "#7749"],
    red_by=[
        Red("n-plus-one", "latency-by-dose", twin="few-more-queries", modelled=True),
        Red("pool-leak-under-latency", "latency-by-dose", twin="pool-returns-late"),
        Red("health-never-warns", "health-tells", twin="health-report-slow"),
    ],
    objectives=[
        WritesKept(),
        LatencyByDose(at_most=api_p95, up_to_ms=10, errors_up_to_ms=25),
        HealthTells(warns_at=database_far, near_ms=NEAR_MS, far_ms=FAR_MS),
        Latency(at_most=api_p95, phase="calm"),
    ],
)
async def db_latency(run: Run) -> None:
    await run.baseline()
    await run.ask_health(until_quiet_s=QUIET_S)
    for rtt_ms in DOSES_MS:
        async with run.fault(DbLatency(rtt_ms=rtt_ms), at=each("coder")):
            if rtt_ms in (NEAR_MS, FAR_MS):
                await run.ask_health(until_quiet_s=QUIET_S if rtt_ms == NEAR_MS else 0.0)
            await run.hold(6)
    await run.settle()
    await run.ask_health(until_quiet_s=QUIET_S)
