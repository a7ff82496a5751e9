"""A replica that hangs costs users a moment."""

from harness import Run, one, scenario
from harness.faults import Freeze
from harness.objectives import WritesKept


@scenario(objectives=[WritesKept()])
async def crash_freeze(run: Run) -> None:
    await run.baseline()
    await run.ask_health()
    async with run.fault(Freeze(), at=one("coder")):
        await run.hold()
    await run.settle()
