"""Plays whole runs on the fake backend under virtual time."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness import discover
from harness.backends import fake
from harness.config import Settings
from harness.course import Request
from harness.runner import Stop, execute
from harness.virtualtime import VirtualLoop

if TYPE_CHECKING:
    from pathlib import Path

    from harness.api import Scenario
    from harness.stack import Open
    from harness.verdict import Verdict

BUGS = {
    "ack-before-commit": ("replica-kill", "writes-kept"),
    "ready-before-pool": ("replica-kill", "none-before-ready"),
    "heartbeat-10x": ("replica-kill", "membership-drops"),
    "watch-no-snapshot": ("replica-kill", "sessions-back watch.eager"),
    "holds-lock-in-request": ("replica-freeze", "others-not-blocked"),
    "n-plus-one": ("db-latency", "latency-by-dose"),
}
"""Seeded bug: the scenario that must catch it, and the objective that must fail first."""

TWINS = {
    "slow-commit": "replica-kill",
    "slow-ready": "replica-kill",
    "heartbeat-1.3x": "replica-kill",
    "watch-slow-snapshot": "replica-kill",
    "lock-with-timeout": "replica-freeze",
    "few-more-queries": "db-latency",
}
"""Legal, only slow: the scenario that must let it pass."""

RUN = "fakefake"


@dataclass(frozen=True)
class Played:
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
    open_: Open = fake.open,
    **settings: Any,
) -> Played:
    """Run a scenario on the fake, from its plan to its report."""
    directory.mkdir(parents=True)
    request = Request(
        scenario=discover.scenario(scenario) if isinstance(scenario, str) else scenario,
        settings=Settings(stack="fake", **settings),
        seed=seed,
        run=RUN,
        directory=directory,
        open=open_,
        server_env={"STANDIN_BUGS": bugs} if bugs else {},
        command=["coder-chaos", "run", "--stack", "fake"],
        say=lambda _: None,
    )
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        verdict, report = runner.run(execute(request, Stop()))
    return Played(verdict, report, directory)
