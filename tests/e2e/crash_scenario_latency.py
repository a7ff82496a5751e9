"""A database that is far costs a moment."""

from harness import Run, one, scenario
from harness.faults import DbLatency
from harness.objectives import WritesKept


@scenario(objectives=[WritesKept()])
async def crash_latency(run: Run) -> None:
    run.note("a short run that is going to be cut")
    await run.baseline()
    async with run.fault(DbLatency(rtt_ms=60), at=one("coder")):
        await run.hold()
    await run.settle()
