"""An exit code that is always 0."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness import discover
from harness.selftest.cases import cases
from harness.selftest.checks import CODES, Played, deviation, judged_again
from harness.selftest.mirrors.base import Lab, Seen, mirror, replaced
from harness.verdict import Verdict

if TYPE_CHECKING:
    from collections.abc import Iterator


@mirror(caught_by="the matrix, by its own table of exit codes and by `judge` in a fresh process")
def exit_code_zero(lab: Lab) -> Iterator[Seen]:
    """Every run ends with exit code 0, whatever its verdict."""
    case = next(case for case in cases(discover.scenarios().values()) if case.kind == "bug")
    with replaced(Verdict, "exit_code", property(lambda _: 0)):
        run = lab.play(case.scenario, bugs=case.name, settings=case.settings)
        played = Played(run.verdict, run.verdict.exit_code, run.directory)
    wrong, again = deviation(case, played), judged_again(run.directory)
    noticed = wrong is not None and wrong.startswith("exit code 0 for FAIL") and again.code == CODES["FAIL"]
    yield Seen(
        case.name,
        str(run.verdict.status),
        f"{wrong}; a fresh process says {again.code}" if wrong else "nothing noticed",
        noticed,
        str(run.directory),
    )
