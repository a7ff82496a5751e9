"""Plays whole runs on the fake backend under virtual time: a run of a minute in about a second."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from harness import discover
from harness.backends import fake
from harness.config import Settings
from harness.course import Request
from harness.runner import Stop
from harness.session import drive
from harness.virtualtime import VirtualLoop

if TYPE_CHECKING:
    from pathlib import Path

    from harness.api import Scenario
    from harness.stack import Open
    from harness.verdict import Verdict

RUN = "fakefake"
OPEN = cast("Open", fake.open)


@dataclass(frozen=True)
class FakeRun:
    """One finished run."""

    verdict: Verdict
    report: str
    directory: Path


def play(
    directory: Path,
    scenario: Scenario | str,
    *,
    bugs: str = "",
    seed: int = 1,
    open_: Open = OPEN,
    stop: Stop | None = None,
    **settings: Any,
) -> FakeRun:
    """Run a scenario on the fake, from its plan to its report, in `directory`, which it makes.

    Raises KeyboardInterrupt when the run was stopped, by a signal or by whoever holds `stop`.
    """
    directory.mkdir(parents=True)
    request = Request(
        scenario=discover.scenario(scenario) if isinstance(scenario, str) else scenario,
        settings=Settings(**(settings | {"stack": "fake"})),
        seed=seed,
        run=RUN,
        directory=directory,
        open=open_,
        server_env={"STANDIN_BUGS": bugs} if bugs else {},
        command=["coder-chaos", "run", "--stack", "fake"],
        say=lambda _: None,
    )
    stop = stop or Stop()
    verdict, report = drive(request, stop, VirtualLoop)
    if stop.by:
        raise KeyboardInterrupt(stop.why)
    return FakeRun(verdict, report, directory)
