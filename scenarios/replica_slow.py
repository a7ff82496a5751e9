"""A replica that is slow and stays in must cost users its share of the requests only, and slow nobody else down."""

from harness import Red, Run, one, scenario
from harness.faults import CpuThrottle
from harness.objectives import (
    BrownOut,
    Detected,
    Latency,
    OthersKeepPace,
    WritesKept,
)
from harness.timings import api_p95

PERCENT = 10
"""Slow, not lost: a replica of the stand-in needs 15 to 20 % of a processor at the load of a dev run. With 5 % it answers
most questions to the database too late, with 15 % hardly later than usual."""


@scenario(
    tags=["nightly"],
    rules=["3b"],
    red_by=[
        Red("shared-lock-contention", "others-keep-pace", twin="lock-if-free", modelled=True),
    ],
    objectives=[
        WritesKept(may_come_late=True),
        OthersKeepPace(),
        BrownOut(),
        Latency(at_most=api_p95, phase="calm"),
        Detected(),
    ],
)
async def replica_slow(run: Run) -> None:
    await run.baseline()
    async with run.fault(CpuThrottle(percent=PERCENT), at=one("coder")):
        await run.hold(15)
    await run.settle()
