"""A replica that hangs must cost users no more than one that dies, and hold nothing the others need."""

from harness import Red, Run, one, scenario
from harness.faults import Freeze
from harness.objectives import (
    BadSeconds,
    Detected,
    EchoKept,
    Latency,
    LongestOutage,
    OthersNotBlocked,
    Recovery,
    WritesKept,
)
from harness.timings import N, api_p95, ejection


@scenario(
    load="dashboard",  # the writers build enough; what is held at the freeze is to be theirs
    tags=["smoke", "nightly"],
    rules=["3a", "#13041", "#5824"],
    red_by=[
        Red(
            "holds-lock-in-request",
            "others-not-blocked",
            twin="lock-with-timeout",
            settings={"hold": "8s"},
        ),
        # Long enough for every write that the frozen replica was sent to be given up and settled before the thaw.
        Red("late-write-at-thaw", "writes-kept", twin="late-write-checked", settings={"hold": "17s"}),
    ],
    objectives=[
        WritesKept(),
        OthersNotBlocked(at_most=5.0),
        EchoKept(),
        BadSeconds(at_most=ejection / N + 0.5),
        LongestOutage(at_most=1.5),
        Recovery("first", within=2.0),
        Recovery("stable", within=ejection + 1.0),
        Recovery("capacity", within=40.0),
        Latency(at_most=api_p95, phase="calm"),
        Detected(),
    ],
)
async def replica_freeze(run: Run) -> None:
    await run.baseline()
    async with run.fault(Freeze(), at=one("coder")):
        await run.hold(ejection + 7)
    await run.settle()
