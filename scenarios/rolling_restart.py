"""Restarting every replica in turn must cost users no more, at each step, than losing that one."""

from harness import Red, Run, rolling, scenario
from harness.faults import Restart
from harness.objectives import (
    BadSeconds,
    BuildsEnd,
    Detected,
    Exits,
    Goodbye,
    Latency,
    SessionsBack,
    WritesKept,
)
from harness.timings import N, api_p95, ejection, health_interval, idle_exit, redial


@scenario(
    tags=["nightly"],
    rules=["3a", "1d", "#16181", "#9041"],
    red_by=[
        Red("drain-never-ends", "exits", twin="slow-exit"),
        Red("no-drain", "goodbye watch.eager", twin="slow-drain"),
        Red("orphan-on-stop", "builds-end", twin="last-builds", settings={"writers": "20"}),
    ],
    objectives=[
        WritesKept(),
        Exits(within=idle_exit),
        Goodbye(),
        BuildsEnd(),
        SessionsBack("watch.eager", within=ejection + redial),
        BadSeconds(at_most=ejection / N + 0.5, per_fault=True),
        Latency(at_most=api_p95, phase="calm"),
        Detected(),
    ],
)
async def rolling_restart(run: Run) -> None:
    await run.baseline()
    for _ in range(run.replicas):
        async with run.fault(Restart(), at=rolling("coder")):
            pass  # it is started again as soon as it is gone
        await run.hold(health_interval + 1)  # until the balancer has it in again; an orchestrator waits for that too
    await run.settle()
