"""A replica that dies must cost users no more than the balancer needs to notice."""

from harness import Red, Run, one, scenario
from harness.faults import Kill
from harness.objectives import (
    BadSeconds,
    Detected,
    EchoKept,
    Latency,
    LongestOutage,
    MembershipDrops,
    NoneBeforeReady,
    Recovery,
    SessionsBack,
    WritesKept,
)
from harness.timings import N, api_p95, ejection, membership_earliest, redial, replica_gone, replica_heartbeat


@scenario(
    tags=["smoke", "nightly"],
    rules=["3a", "#8706"],
    red_by=[
        Red("ack-before-commit", "writes-kept", twin="slow-commit", settings={"writers": "30"}),
        Red("ready-before-pool", "none-before-ready", twin="slow-ready"),
        Red("heartbeat-10x", "membership-drops", twin="heartbeat-1.3x"),
        Red("watch-no-snapshot", "sessions-back watch.eager", twin="watch-slow-snapshot"),
    ],
    objectives=[
        WritesKept(),
        NoneBeforeReady(),
        MembershipDrops(earliest=membership_earliest, latest=replica_gone + replica_heartbeat),
        SessionsBack("watch.eager", within=ejection + redial),
        EchoKept(),
        BadSeconds(at_most=ejection / N + 0.5),
        LongestOutage(at_most=1.0),
        Recovery("first", within=1.0),
        Recovery("stable", within=ejection + 1.0),
        Recovery("sessions", within=ejection + redial),
        Recovery("capacity", within=ejection + replica_gone + replica_heartbeat + 25),
        Latency(at_most=api_p95, phase="calm"),
        Detected(),
    ],
)
async def replica_kill(run: Run) -> None:
    await run.baseline()
    async with run.fault(Kill(), at=one("coder")):
        await run.hold(replica_gone + replica_heartbeat + 2)
    await run.settle()
