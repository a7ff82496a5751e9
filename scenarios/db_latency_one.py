"""A database that is slow for one replica must stay that replica's own trouble."""

from harness import Red, Run, one, scenario
from harness.faults import DbLatency
from harness.objectives import (
    BadSeconds,
    Latency,
    OthersKeepPace,
    TellsLatency,
    WritesKept,
)
from harness.timings import api_p95, replica_heartbeat


@scenario(
    tags=["nightly"],
    rules=["4d"],
    red_by=[
        Red("latency-not-reported", "tells-latency", twin="latency-reported-late"),
    ],
    objectives=[
        WritesKept(),
        TellsLatency(within=replica_heartbeat * 2 + 1.0),
        OthersKeepPace(),
        BadSeconds(at_most=0.5),
        Latency(at_most=api_p95, phase="calm"),
    ],
)
async def db_latency_one(run: Run) -> None:
    await run.baseline()
    async with run.fault(DbLatency(rtt_ms=25), at=one("coder")):
        await run.hold(replica_heartbeat * 2 + 5)
    await run.settle()
