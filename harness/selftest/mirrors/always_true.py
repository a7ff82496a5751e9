"""An objective that is always kept."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from harness import discover
from harness.judge import judge
from harness.selftest.cases import cases
from harness.selftest.checks import Played, deviation
from harness.selftest.mirrors.base import Lab, Seen, mirror, replaced
from harness.verdict import Status

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness.timeline import RunView
    from harness.verdict import Finding


@mirror(caught_by="the matrix: the bug whose first objective it is does not end as declared")
def objective_always_true(lab: Lab) -> Iterator[Seen]:
    """An objective says that it is kept, whatever the run shows; each in turn that a seeded bug must break first."""
    for case in cases(discover.scenarios().values()):
        if case.kind != "bug":
            continue
        run = lab.play(case.scenario, bugs=case.name, settings=case.settings)
        honest = deviation(case, Played(run.verdict, run.verdict.exit_code, run.directory))
        with always_true(case.objective):
            verdict = judge(run.directory)
        wrong = deviation(case, Played(verdict, verdict.exit_code, run.directory))
        said = f"not as declared even before: {honest}" if honest else wrong or "nothing noticed"
        what = f"{case.objective} under {case.name}"
        yield Seen(what, str(verdict.status), said, honest is None and wrong is not None, str(run.directory))


def always_true(title: str) -> ExitStack:
    """Let the objective of that title be kept, until the stack is closed."""

    def lying(judge_: Any) -> Any:
        def say(objective: object, run: RunView) -> Finding:
            finding: Finding = judge_(objective, run)
            return replace(finding, status=Status.PASS) if finding.objective == title else finding

        return say

    stack = ExitStack()
    for cls in discover.objectives().values():
        stack.enter_context(replaced(cls, "judge", lying(cls.judge)))  # type: ignore[attr-defined]
    return stack
