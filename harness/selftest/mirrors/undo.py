"""An undo that is skipped."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness import discover
from harness.safety.undo import Outcome
from harness.selftest.mirrors.base import Lab, Seen, ended, mirror
from harness.selftest.mirrors.stacks import Cheat, opening

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from harness.safety.undo import Step


class _NoUndo(Cheat):
    """Says that every step was run."""

    def __init__(self, honest: object) -> None:
        super().__init__(honest)  # type: ignore[arg-type]
        self._steps: dict[str, Sequence[Step]] = {}

    async def arm(self, fault: str, revert_by_ns: int, steps: Sequence[Step]) -> None:  # noqa: ARG002 - a stack's
        """Keep the steps from whoever would run them."""
        self._steps[fault] = steps

    async def undo(self, fault: str) -> list[Outcome]:
        """Run none."""
        return [Outcome(step, ok=True, said=f"{step.do}: done") for step in self._steps.pop(fault)]


@mirror(caught_by="the heal: the target's own address must be good again")
def undo_skipped(lab: Lab) -> Iterator[Seen]:
    """The undo reports that every step was run, and none was."""
    for name in sorted(discover.scenarios()):
        run = lab.play(name, open_=opening(_NoUndo))
        yield ended(name, run.verdict, run.directory, "not healed")
