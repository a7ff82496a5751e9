"""When all replicas but one die, that one must serve, and the others must come back without harm."""

from harness import Red, Run, all_but_one, scenario
from harness.faults import Kill
from harness.objectives import (
    BadSeconds,
    Detected,
    Latency,
    NoneBeforeReady,
    Recovery,
    SessionsBack,
    WritesKept,
)
from harness.timings import N, api_p95, ejection, redial


@scenario(
    tags=["nightly"],
    rules=["3a"],
    red_by=[
        Red("ready-before-pool", "none-before-ready", twin="slow-ready"),
    ],
    objectives=[
        WritesKept(),
        NoneBeforeReady(),
        SessionsBack("watch.eager", within=ejection + redial),
        BadSeconds(at_most=(N + -1.0) * ejection / N + 0.5),
        Recovery("stable", within=ejection + 1.0),
        Recovery("capacity", within=ejection * 2 + 30.0),
        Latency(at_most=api_p95, phase="calm"),
        Detected(),
    ],
)
async def quorum_of_one(run: Run) -> None:
    await run.baseline()
    async with run.fault(Kill(), at=all_but_one("coder")):
        await run.hold(ejection + 7)
    await run.settle()
