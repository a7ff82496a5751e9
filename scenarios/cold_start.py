"""When all replicas start at once on a full database, each must become ready, and the schema must stay as it was."""

from harness import Red, Run, each, scenario
from harness.faults import Kill
from harness.objectives import (
    AllReady,
    Detected,
    Latency,
    Recovery,
    SchemaClean,
    SessionsBack,
    WritesKept,
)
from harness.timings import api_p95, ejection, health_interval, redial, start

AWAY = ejection + 2.0
"""How long all of them are away: until the balancer itself knows that nobody is there."""


@scenario(
    outage=True,
    tags=["nightly"],
    rules=["3a", "#8210", "#5577", "#4613", "#12923"],
    red_by=[
        Red("concurrent-migration", "schema-clean", twin="slow-migration"),
        Red("dirty-flag", "all-ready", twin="slow-migration"),
    ],
    objectives=[
        WritesKept(),
        AllReady(within=start),
        SchemaClean(),
        SessionsBack("watch.eager", within=AWAY + start + health_interval + redial),
        Recovery("stable", within=AWAY + start + health_interval + 1.0),
        Recovery("capacity", within=AWAY + start + health_interval + 5.0),
        Latency(at_most=api_p95, phase="calm"),
        Detected(),
    ],
)
async def cold_start(run: Run) -> None:
    await run.baseline()
    async with run.fault(Kill(), at=each("coder")):
        await run.hold(AWAY)
    await run.settle()
