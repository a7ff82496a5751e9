"""A suite: scenarios one after the other, a run directory each, one table and one exit code at the end."""

from __future__ import annotations

import os
from itertools import zip_longest
from typing import TYPE_CHECKING, NamedTuple

from harness import session
from harness.course import asked_of
from harness.errors import HarnessError, UsageError
from harness.keep import Keep
from harness.verdict import DIRTY_EXIT

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from harness.api import Scenario
    from harness.config import Settings
    from harness.stack import StackRequest

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
    stack: str = ""
    """Fresh or reused; empty when it never got one."""


def play_all(
    scenarios: Sequence[Scenario],
    repeat: int,
    play: Callable[[Scenario, int, Scenario | None], Played],
    *,
    fail_fast: bool,
) -> list[Played]:
    """Play every scenario `repeat` times, round by round. A signal ends the suite; with `fail_fast` so does any red run.

    `play` is given the scenario, the round's number and the scenario that comes after it. A HarnessError of one run is
    its result, not the suite's end.
    """
    played: list[Played] = []
    turns = [(number, scenario) for number in range(repeat) for scenario in scenarios]
    for (number, scenario), (_, following) in zip_longest(turns, turns[1:], fillvalue=(0, None)):
        if scenario is None:
            raise AssertionError("there is one turn more than followers")
        try:
            played.append(play(scenario, number, following))
        except HarnessError as error:
            played.append(Played(scenario.name, number, "ERROR", str(error).splitlines()[0], error.exit_code, None))
        if played[-1].code > 128 or (fail_fast and played[-1].code):
            return played
    return played


def play(
    scenarios: Sequence[Scenario],
    repeat: int,
    settings: Settings,
    *,
    say: Callable[[str], None],
    fail_fast: bool = False,
    fresh: bool = False,
    environ: Mapping[str, str] | None = None,
    loop_factory: Callable[[], AbstractEventLoop] | None = None,
) -> list[Played]:
    """Play a suite for real. Each run goes on with the stack of the one before if nobody could tell it from a fresh one.

    With `fresh` none does. `environ` as in `run_one`; `loop_factory` makes the one loop of the suite.
    """
    env = session.server_env(os.environ if environ is None else environ)

    def needs(scenario: Scenario | None) -> StackRequest | None:
        try:
            return None if scenario is None else asked_of(settings.sized_for(scenario.name, scenario.replicas), env)
        except UsageError:
            return None  # it will say so itself when its turn comes

    with Keep(fresh=fresh, loop_factory=loop_factory) as keep:

        def one(scenario: Scenario, number: int, following: Scenario | None) -> Played:
            own = settings if settings.seed is None else settings.model_copy(update={"seed": settings.seed + number})
            keep.following = needs(following)
            verdict, _, directory, code = session.run_one(scenario, own, say=say, environ=environ, keep=keep)
            say(f"{verdict.status}  {scenario.name}  {verdict.why}")
            return Played(scenario.name, number, str(verdict.status), verdict.why, code, directory, keep.last)

        played = play_all(scenarios, repeat, one, fail_fast=fail_fast)
        kept = keep.shut()
    left = session.left_by(kept, settings) if kept else []
    if left:
        say(session.dirty(left))
        played[-1] = played[-1]._replace(code=DIRTY_EXIT)
    return played


def exit_code(played: Sequence[Played]) -> int:
    """Code of the whole: the worst of its runs."""
    codes = {run.code for run in played}
    foreign = sorted(codes.difference(_PRECEDENCE))
    return foreign[0] if foreign else next(code for code in _PRECEDENCE if code in codes)


def table(played: Sequence[Played], planned: int) -> str:
    """One line per run, and a count of what came of them."""
    width = max(len(run.scenario) for run in played)
    stacks = 8 if any(run.stack for run in played) else 0
    lines = [f"{run.status:<13} {run.scenario:<{width}}  {run.stack:<{stacks}}{run.why}" for run in played]
    counts: dict[str, int] = {}
    for run in played:
        counts[run.status] = counts.get(run.status, 0) + 1
    left = f", {planned - len(played)} not played" if len(played) < planned else ""
    lines.append(f"{len(played)} runs: {', '.join(f'{n} {status}' for status, n in sorted(counts.items()))}{left}")
    return "\n".join(lines) + "\n"
