"""Keep: the running stack that a suite hands from one run to the next, as long as nobody could tell it from a fresh one.

One loop serves all runs of the suite, so that the keeper of the stack, its parent and dead man's switch, stays connected
to the harness all the time: should the harness die, in a run or between two, everything goes with it as ever.
"""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack, ExitStack, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

import anyio

from harness import fingerprint
from harness.errors import HarnessError
from harness.tidy import tidy
from harness.timeline import RunView

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from harness.bootstrap import Owner
    from harness.course import Course
    from harness.runner import Stop
    from harness.stack import Context, Look, Stack, StackRequest
    from harness.verdict import Verdict

FRESH = "asked for by --fresh"
FIRST = "the first of the suite"
EARLY = "the run before it ended early"


@dataclass
class Kept:
    """A stack between two runs: what it was asked to be, how it looked, whom it served, and how it is closed."""

    stack: Stack
    asked: StackRequest
    owner: Owner
    look: Look
    started_by: str
    before: list[str]
    directory: Path
    """Of the run that it served last."""
    exits: AsyncExitStack


@dataclass
class Keep:
    """See above. `following` is what the run after the present one needs of a stack; None when none follows."""

    fresh: bool = False
    loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None
    following: StackRequest | None = None
    why: str = ""
    """Why the next run gets a fresh stack."""
    locks: ExitStack = field(default_factory=ExitStack)
    """The target's lock, while a stack is kept between runs."""
    last: str = ""
    """What the present run got: fresh or reused."""
    closed: Kept | None = None
    """What the last `check` found unfit and took down."""
    _kept: Kept | None = None

    def __post_init__(self) -> None:
        """Open no stack yet."""
        self.runner = asyncio.Runner(loop_factory=self.loop_factory)
        self.why = FRESH if self.fresh else FIRST

    @property
    def kept(self) -> Kept | None:
        """What waits for the next run."""
        return self._kept

    def check(self, needed: StackRequest) -> dict[str, Any]:
        """Decide, before a run starts, what it gets, in the form of its header. A stack that is not fit any more is closed."""
        why, self.closed = self.why, None
        self.why = FRESH if self.fresh else EARLY  # until `settle` knows better
        if (kept := self._kept) is not None:
            changed = fingerprint.differs(kept.asked, needed) or self.runner.run(self._unchanged(kept))
            if changed is None:
                self.last = "reused"
                return {"reused": True, "why": "", "started_by": kept.started_by, "before": list(kept.before)}
            why, self.closed = changed, self.shut()
        self.last = "fresh"
        return {"reused": False, "why": why, "started_by": "", "before": []}

    async def lend(self, exits: AsyncExitStack, context: Context) -> tuple[Stack, Owner]:
        """Hand the stack to a run: from here on it ends with the run's `exits`. Raises StackError when it cannot turn."""
        kept, self._kept = self._kept, None
        if kept is None:
            raise AssertionError("there is a stack to lend whenever `check` said so")
        await exits.enter_async_context(kept.exits)
        await kept.stack.turn(context)
        return kept.stack, kept.owner

    async def settle(self, course: Course, verdict: Verdict, exits: AsyncExitStack, stop: Stop) -> None:
        """After a sealed run: keep its stack if it is as good as new and the next run wants one like it."""
        request = course.request
        if course.stack is None or self.following is None or self.fresh or stop.asked.is_set():
            return
        why: str | None = None
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_cancel_when, stop.asked, tasks.cancel_scope)
            why = await self._unfit(course, verdict, self.following)
            tasks.cancel_scope.cancel()
        if why is not None or stop.asked.is_set():
            self.why = why or "the suite is being ended"
            request.say(f"this stack ends with its run: {self.why}")
            return
        self._kept = Kept(
            stack=course.stack,
            asked=course.asked,
            owner=course.world.owner,
            look=await course.stack.look(),
            started_by=(request.stack_use or {}).get("started_by") or request.run,
            before=[*(request.stack_use or {}).get("before", []), request.run],
            directory=request.directory,
            exits=exits.pop_all(),
        )
        note = {"left": [], "stack": "kept for the next run"}
        with suppress(OSError):  # the next run will meet a disk that is full
            (request.directory / "teardown.json").write_text(json.dumps(note) + "\n")

    async def _unfit(self, course: Course, verdict: Verdict, following: StackRequest) -> str | None:
        try:
            stack, run = course.stack, RunView(course.request.directory)
            why = fingerprint.differs(course.asked, following) or fingerprint.of_run(run, verdict)
            if why is not None or stack is None:
                return why
            excused = fingerprint.restarted(run)
            why = fingerprint.of_processes(course.look, await stack.look(), excused)
            why = why or await fingerprint.of_service(stack, course.world.admin)
            if why is not None:
                return why
            began = course.now_ns()
            said = await tidy(stack, course.world.admin, course.world.owner, course.request.run)
            course.request.say(f"{said} in {(course.now_ns() - began) / 1e9:.1f} s; the stack is kept")
            # Once more: what was removed, and the time it took, may have ended somebody.
            return fingerprint.of_processes(course.look, await stack.look(), excused)
        except (HarnessError, LookupError, TypeError, ValueError) as error:  # an answer may have any shape
            return str(error).splitlines()[0] if isinstance(error, HarnessError) else f"{type(error).__name__}: {error}"

    async def _unchanged(self, kept: Kept) -> str | None:
        try:
            return fingerprint.of_processes(kept.look, await kept.stack.look())
        except HarnessError as error:
            return str(error).splitlines()[0]

    def shut(self) -> Kept | None:
        """Take down what is kept, if anything, and return what it was."""
        kept, self._kept = self._kept, None
        if kept is not None:
            self.runner.run(kept.exits.aclose())
        self.locks.close()
        return kept

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.shut()
        finally:
            self.runner.close()


async def _cancel_when(asked: anyio.Event, scope: anyio.CancelScope) -> None:
    await asked.wait()
    scope.cancel()
