"""A database that is up to 10 ms away must be near enough; how far is too far shall be known."""

from harness import Red, Run, each, scenario
from harness.faults import DbLatency
from harness.objectives import Latency, LatencyByDose, WritesKept
from harness.timings import api_p95

DOSES_MS = (5, 10, 15, 25, 50, 100)


@scenario(
    tags=["nightly"],
    rules=["4d", "#11897", "#7749"],
    red_by=[
        Red("n-plus-one", "latency-by-dose", twin="few-more-queries", modelled=True),
        Red("pool-leak-under-latency", "latency-by-dose", twin="pool-returns-late"),
    ],
    objectives=[
        WritesKept(),
        LatencyByDose(at_most=api_p95, up_to_ms=10, errors_up_to_ms=25),
        Latency(at_most=api_p95, phase="calm"),
    ],
)
async def db_latency(run: Run) -> None:
    await run.baseline()
    for rtt_ms in DOSES_MS:
        async with run.fault(DbLatency(rtt_ms=rtt_ms), at=each("coder")):
            await run.hold(6)
    await run.settle()
