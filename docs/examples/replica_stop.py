"""A replica that is stopped in good order must cost users next to nothing."""

from stop import Stop

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
async def replica_stop(run: Run) -> None:
    await run.baseline()
    async with run.fault(Stop(), at=one("coder")):
        await run.hold(ejection + 3)
    await run.settle()
