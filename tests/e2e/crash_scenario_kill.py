"""A replica that dies costs users a moment."""

from harness import Run, one, scenario
from harness.faults import Kill
from harness.objectives import WritesKept


@scenario(objectives=[WritesKept()])
async def crash_kill(run: Run) -> None:
    run.note("a short run that is going to be cut")
    await run.baseline()
    async with run.fault(Kill(), at=one("coder")):
        await run.hold()
    await run.settle()
