"""A value that is only known to be larger, given as the value itself."""

from __future__ import annotations

from typing import TYPE_CHECKING
from unittest import mock

from harness.judge import judge
from harness.recovery import RECOVERIES, Span
from harness.selftest.mirrors.base import Lab, Seen, ended, mirror
from harness.verdict import Status

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from harness.timeline import RunView

SCENARIO = "balancer-restart"
"""Stable is a stretch of 5 s: watched for 4 s after a short outage, nobody can say that it is or that it will not be."""


@mirror(caught_by="the objective `recovery`: an exact value must end with a record")
def censored_as_exact(lab: Lab) -> Iterator[Seen]:
    """What did not recover while it was watched is given as recovered at the end of the watch."""
    run = lab.play(SCENARIO, settings={"recovery": 1, "calm": 3})
    censored = [f for f in run.verdict.findings if f.status is Status.INCONCLUSIVE and f.value.startswith("> ")]
    with mock.patch.dict(RECOVERIES, {name: _exact(measure) for name, measure in RECOVERIES.items()}):
        verdict = judge(run.directory)
    if not censored:
        yield Seen(SCENARIO, str(run.verdict.status), "nothing was censored to begin with", False, str(run.directory))
        return
    yield ended(SCENARIO, verdict, run.directory, "nothing that was recorded ends there")


def _exact(measure: Callable[[RunView], Span | None]) -> Callable[[RunView], Span | None]:
    def lie(run: RunView) -> Span | None:
        span = measure(run)
        return Span(span.lo, span.lo) if span and span.censored else span

    return lie
