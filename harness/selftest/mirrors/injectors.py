"""Injectors that do nothing, or hurt somebody else."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from harness import discover
from harness.plan import dry_run
from harness.selftest.mirrors.base import Lab, Seen, ended, mirror, replaced
from harness.selftest.mirrors.stacks import opening
from harness.timings import Env

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from harness.api import Scenario

NOT_PROVEN = "not proven"


def _patched(make: Callable[[Any], object]) -> ExitStack:
    """Every fault injects with what `make` gives for its own injector."""
    stack = ExitStack()
    for fault in discover.faults().values():
        stack.enter_context(replaced(fault, "inject", make(fault.inject)))  # type: ignore[attr-defined]
    return stack


@mirror(caught_by="the receipt: the target's own address must show the fault")
def injector_does_nothing(lab: Lab) -> Iterator[Seen]:
    """An injector reports that it did its deed, and did not."""

    async def nothing(_fault: object, _target: object) -> None:
        return

    for name in sorted(discover.scenarios()):
        with _patched(lambda _: nothing):
            run = lab.play(name)
        yield ended(name, run.verdict, run.directory, NOT_PROVEN)


@mirror(caught_by="the receipt: the target's own address must show the fault, and a control's must not")
def injector_hits_the_control(lab: Lab) -> Iterator[Seen]:
    """An injector hurts a replica that was to be left alone."""
    targets: list[Any] = []

    def other(target: Any) -> Any:
        return next(t for t in targets if t.role == target.role and t is not target)

    def astray(inject: Any) -> Any:
        async def wrong(fault: object, target: object) -> None:
            await inject(fault, other(target))

        return wrong

    def remember(stack: Any) -> Any:
        targets[:] = stack.targets
        return stack

    for scenario in filter(_hurts_one_replica, discover.scenarios().values()):
        with _patched(astray):
            run = lab.play(scenario, open_=opening(remember))
        yield ended(scenario.name, run.verdict, run.directory, NOT_PROVEN)


def _hurts_one_replica(scenario: Scenario) -> bool:
    """Whether there is a control: with all of them hurt, or the only one of its kind, there is no other."""
    steps = asyncio.run(
        dry_run(scenario, seed=1, env=replace(Env(), replicas=max(Env().replicas, scenario.replicas)), hold_s=None)
    )
    return any(step["do"] == "fault" and step["at"] == "one coder" for step in steps)
