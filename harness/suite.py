"""A suite: scenarios one after the other, a run directory each, one table and one exit code at the end."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from harness.errors import HarnessError
from harness.verdict import DIRTY_EXIT

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from harness.api import Scenario

_PRECEDENCE = (DIRTY_EXIT, 1, 70, 4, 5, 3, 0)
"""Worst first. What is not listed, such as 130 after a signal, comes before all of them."""


class Played(NamedTuple):
    """One run of a suite: what it was, how it ended, and where it lies (None when it never got a directory)."""

    scenario: str
    number: int
    status: str
    why: str
    code: int
    directory: Path | None


def play_all(
    scenarios: Sequence[Scenario], repeat: int, play: Callable[[Scenario, int], Played], *, fail_fast: bool
) -> list[Played]:
    """Play every scenario `repeat` times, round by round. A signal ends the suite; with `fail_fast` so does any red run.

    `play` is given the scenario and the round's number. A HarnessError of one run is its result, not the suite's end.
    """
    played: list[Played] = []
    for number in range(repeat):
        for scenario in scenarios:
            try:
                played.append(play(scenario, number))
            except HarnessError as error:
                played.append(Played(scenario.name, number, "ERROR", str(error).splitlines()[0], error.exit_code, None))
            if played[-1].code > 128 or (fail_fast and played[-1].code):
                return played
    return played


def exit_code(played: Sequence[Played]) -> int:
    """Code of the whole: the worst of its runs."""
    codes = {run.code for run in played}
    foreign = sorted(codes.difference(_PRECEDENCE))
    return foreign[0] if foreign else next(code for code in _PRECEDENCE if code in codes)


def table(played: Sequence[Played], planned: int) -> str:
    """One line per run, and a count of what came of them."""
    width = max(len(run.scenario) for run in played)
    lines = [f"{run.status:<13} {run.scenario:<{width}}  {run.why}" for run in played]
    counts: dict[str, int] = {}
    for run in played:
        counts[run.status] = counts.get(run.status, 0) + 1
    left = f", {planned - len(played)} not played" if len(played) < planned else ""
    lines.append(f"{len(played)} runs: {', '.join(f'{n} {status}' for status, n in sorted(counts.items()))}{left}")
    return "\n".join(lines) + "\n"
