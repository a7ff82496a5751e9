"""A replica that crashes must cost users no more than the balancer needs to notice."""

from abort import Abort

from harness import Run, one, scenario
from harness.objectives import BadSeconds, Recovery, SessionsBack, WritesKept
from harness.timings import N, ejection, redial


@scenario(
    objectives=[
        WritesKept(),
        SessionsBack("watch.eager", within=ejection + redial),
        BadSeconds(at_most=ejection / N + 0.5),
        Recovery("stable", within=ejection + 1.0),
    ],
)
async def replica_abort(run: Run) -> None:
    await run.baseline()
    async with run.fault(Abort(), at=one("coder")):
        await run.hold(ejection + 3)
    await run.settle()
