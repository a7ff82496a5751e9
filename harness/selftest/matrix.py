"""Plays the cases one after the other and compares. Nothing is ever repeated: what a run was is what is reported."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Any

from harness.errors import HarnessError
from harness.selftest.checks import Played, deviation, disagreement, judged_again
from harness.selftest.mirrors.base import Lab, Seen
from harness.selftest.rows import STOPPED, Row

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from harness.selftest.cases import Case
    from harness.selftest.checks import Again
    from harness.selftest.mirrors.base import Mirror

    Play = Callable[[Case], Played]
    """Plays one case. Raises HarnessError before its start."""


def rows(cases: Sequence[Case], play: Play, *, again: Callable[[Path], Again] = judged_again) -> Iterator[Row]:
    """Play every case and give its row. A signal ends it; an error of one run is its result."""
    for case in cases:
        began = monotonic()
        try:
            row = _row(case, play(case), again)
        except HarnessError as error:
            said = str(error).splitlines()[0]
            row = {
                "stack": "-",
                "got": "ERROR",
                "first": "",
                "ok": False,
                "said": said,
                "directory": "",
                "code": error.exit_code,
            }
        yield Row(
            kind=case.kind,
            name=case.name,
            scenario=case.scenario.name,
            expected=case.expected,
            seconds=round(monotonic() - began, 1),
            **row,
        )
        if row["code"] > STOPPED:
            return


def _row(case: Case, played: Played, again: Callable[[Path], Again]) -> dict[str, Any]:
    verdict = played.verdict
    if played.code <= STOPPED:
        wrong = deviation(case, played) or disagreement(played, again(played.directory))
    else:
        wrong = f"stopped by signal {played.code - STOPPED}"
    return {
        "stack": played.stack,
        "got": f"{verdict.status}{' DIRTY' if verdict.dirty else ''}",
        "first": played.first,
        "ok": wrong is None,
        "said": wrong or verdict.why,
        "directory": str(played.directory),
        "code": played.code,
    }


def mirror_rows(chosen: Sequence[Mirror], folder: Callable[[str], Path]) -> Iterator[Row]:
    """Play every mirror in a folder of its own and give its row: all that it broke has to be noticed."""
    for mirror in chosen:
        began, lab = monotonic(), Lab(folder(mirror.name))
        code = 0
        try:
            seen = list(mirror.see(lab))
        except HarnessError as error:
            seen, code = [Seen("-", "ERROR", str(error).splitlines()[0], noticed=False, directory="")], error.exit_code
        missed = [one for one in seen if not one.noticed]
        shown = (missed or seen or [Seen("-", "-", "it broke nothing", noticed=False, directory="")])[0]
        yield Row(
            kind="mirror",
            name=mirror.name,
            scenario=shown.what if len(seen) <= 1 or missed else f"{len(seen)} ways",
            stack=lab.stack,
            expected="noticed",
            got="missed" if missed or not seen else "noticed",
            first="",
            ok=bool(seen) and not missed,
            said=f"{shown.got}: {shown.said}",
            seconds=round(monotonic() - began, 1),
            directory=str(lab.directory),
            code=code,
        )
