"""Taking replicas away one by one must drop their own sessions only, and those must come back without a herd."""

from harness import Red, Run, rolling, scenario
from harness.faults import Stop
from harness.objectives import (
    BadSeconds,
    Detected,
    DropShare,
    Exits,
    Herd,
    Latency,
    SessionsBack,
    WritesKept,
)
from harness.timings import N, api_p95, ejection, idle_exit, redial


@scenario(
    replicas=4,
    tags=["nightly"],
    rules=["3f"],
    red_by=[
        Red("ignores-sigterm", "exits", twin="slow-exit"),
    ],
    objectives=[
        WritesKept(),
        Exits(within=idle_exit),
        DropShare(),
        SessionsBack("watch.eager", within=ejection + redial),
        Herd(at_most=1.0, per_session=True),
        BadSeconds(at_most=ejection / N + 0.5, per_fault=True),
        Latency(at_most=api_p95, phase="calm"),
        Detected(),
    ],
)
async def scale_down(run: Run) -> None:
    await run.baseline()
    async with run.fault(Stop(), at=rolling("coder")):
        await run.hold(idle_exit + redial)
        async with run.fault(Stop(), at=rolling("coder")):
            await run.hold(idle_exit + redial)
    await run.settle()
