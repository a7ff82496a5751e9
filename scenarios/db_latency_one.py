"""A database that is slow for one replica must stay that replica's own trouble."""

from harness import Run, one, scenario
from harness.faults import DbLatency
from harness.objectives import (
    BadSeconds,
    Latency,
    OthersKeepPace,
    WritesKept,
)
from harness.timings import api_p95


@scenario(
    tags=["nightly"],
    rules=["4d"],
    objectives=[
        WritesKept(),
        OthersKeepPace(),
        BadSeconds(at_most=0.5),
        Latency(at_most=api_p95, phase="calm"),
    ],
)
async def db_latency_one(run: Run) -> None:
    await run.baseline()
    async with run.fault(DbLatency(rtt_ms=25), at=one("coder")):
        await run.hold(10)
    await run.settle()
