"""A balancer that restarts cuts every session at once; all of them must come back with it."""

from harness import Red, Run, one, scenario
from harness.faults import BalancerRestart
from harness.objectives import (
    Detected,
    EchoKept,
    Herd,
    Latency,
    LongestOutage,
    Recovery,
    SessionsBack,
    WritesKept,
)
from harness.timings import api_p95, redial


@scenario(
    tags=["nightly"],
    rules=["3a"],
    red_by=[
        Red("reconnect-no-backoff", "herd watch.eager", twin="slow-reconnect"),
        Red("watch-no-snapshot", "sessions-back watch.eager", twin="watch-slow-snapshot"),
    ],
    objectives=[
        WritesKept(),
        Herd(at_most=2.0, per_session=True, answered=True),
        SessionsBack("watch.eager", within=redial + 2.0),
        EchoKept(),
        LongestOutage(at_most=3.0),
        Recovery("stable", within=5.0),
        Recovery("sessions", within=redial + 3.0),
        Latency(at_most=api_p95, phase="calm"),
        Detected(),
    ],
)
async def balancer_restart(run: Run) -> None:
    await run.baseline()
    async with run.fault(BalancerRestart(how="killed"), at=one("balancer")):
        pass  # it is started again as soon as it is gone
    await run.settle()
