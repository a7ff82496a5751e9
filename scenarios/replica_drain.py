"""A replica that is asked to leave must finish what it began, go in time, and cost users next to nothing."""

from harness import Red, Run, one, scenario
from harness.faults import Stop
from harness.objectives import (
    BadSeconds,
    BuildsEnd,
    Detected,
    Exits,
    Goodbye,
    Latency,
    MembershipDrops,
    Recovery,
    SessionsBack,
    WritesKept,
)
from harness.timings import N, api_p95, ejection, idle_exit, redial


@scenario(
    tags=["nightly"],
    rules=["3a", "#14433", "#25451"],
    red_by=[
        Red("ignores-sigterm", "exits", twin="slow-exit"),
        Red("drain-never-ends", "exits", twin="slow-exit"),
        Red("interrupts-build", "builds-end", twin="last-builds", settings={"writers": "20"}),
    ],
    objectives=[
        WritesKept(),
        Exits(within=idle_exit),
        Goodbye(),
        BuildsEnd(well=True),
        MembershipDrops(earliest=0.0, latest=idle_exit + 2.0),
        SessionsBack("watch.eager", within=ejection + redial),
        BadSeconds(at_most=ejection / N + 0.5),
        Recovery("stable", within=ejection + 1.0),
        Recovery("sessions", within=idle_exit + ejection + redial),
        Latency(at_most=api_p95, phase="calm"),
        Detected(),
    ],
)
async def replica_drain(run: Run) -> None:
    await run.baseline()
    async with run.fault(Stop(), at=one("coder")):
        await run.hold(idle_exit + 2)
    await run.settle()
