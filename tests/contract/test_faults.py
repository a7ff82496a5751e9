from __future__ import annotations

import asyncio
import json
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from fake_runs import RUN

from harness import discover
from harness.backends import fake
from harness.errors import StackError
from harness.faults.base import Fault, Shows, delivered, fits, name_of, params_of
from harness.records import Outcome
from harness.safety.undo import Step
from harness.stack import Context, StackRequest
from harness.virtualtime import VirtualLoop

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

FAULTS = sorted(discover.faults().items())
EACH = pytest.mark.parametrize("cls", [cls for _, cls in FAULTS], ids=[name for name, _ in FAULTS])


def test_there_are_faults() -> None:
    assert {"Kill", "Freeze"} <= {name for name, _ in FAULTS}


@EACH
def test_it_is_a_frozen_dataclass_that_says_what_it_does(cls: Any) -> None:
    assert is_dataclass(cls)
    assert cls.__dataclass_params__.frozen
    assert (cls.__doc__ or "").strip()
    assert not cls.__doc__.startswith(f"{cls.__name__}("), "the docstring is the one dataclass wrote"
    assert cls.__module__.startswith("harness.faults.")


@EACH
def test_it_declares_what_its_path_shows(cls: Any) -> None:
    shows = made(cls).shows
    assert isinstance(shows, Shows)
    assert shows.text
    assert shows.need >= 1
    assert shows.healed >= 1
    assert shows.outcomes <= {int(o) for o in Outcome}
    assert shows.least_ms or int(Outcome.OK) not in shows.outcomes, "a good answer in good time proves no fault"
    assert Shows.from_json(json.loads(json.dumps(shows.to_json()))) == shows


@EACH
def test_its_name_and_parameters_are_plain(cls: Any) -> None:
    fault = made(cls)
    assert isinstance(fault, Fault)
    assert name_of(fault).replace("-", "").isalnum()
    assert set(params_of(fault)) == {field.name for field in fields(cls)}


@EACH
def test_preparing_changes_nothing_and_gives_an_undo(cls: Any, tmp_path: Path) -> None:
    async def body(_stack: fake.FakeStack, fault: Any, target: Any) -> None:
        before = [await t.state() for t in _stack.targets]
        steps = await fault.prepare(target)
        assert steps
        assert all(Step.from_json(step.to_json()) == step for step in steps), "an undo must fit into a journal"
        assert [await t.state() for t in _stack.targets] == before
        assert not await fault.effective(target), "effective before it was done"

    on_fake(cls, tmp_path, body)


@EACH
def test_it_takes_effect_and_its_undo_takes_it_back(cls: Any, tmp_path: Path) -> None:
    async def body(stack: fake.FakeStack, fault: Any, target: Any) -> None:
        await stack.arm("f1", 10**18, await fault.prepare(target))
        await fault.inject(target)
        with anyio.fail_after(5):  # an orderly end takes its time
            while not await fault.effective(target):  # noqa: ASYNC110 - the model sends no event
                await anyio.sleep(0.05)
        assert all(outcome.ok for outcome in await stack.undo("f1"))
        assert not await fault.effective(target)
        await stack.ready(target.name)
        with pytest.raises(StackError, match="not armed"):
            await stack.undo("f1")

    on_fake(cls, tmp_path, body)


@EACH
def test_what_is_asked_in_vain_was_delivered_and_is_undone(cls: Any, tmp_path: Path) -> None:
    """A fault that asks knows that it did, from somebody else than its injector; the others know nothing of the kind."""

    async def body(stack: fake.FakeStack, fault: Any, target: Any) -> None:
        await stack.arm("f1", 10**18, await fault.prepare(target))
        assert not await delivered(fault, target)
        target.obeys = False
        await fault.inject(target)
        assert await delivered(fault, target) == hasattr(fault, "delivered")
        target.obeys = True
        assert all(outcome.ok for outcome in await stack.undo("f1"))
        assert not await delivered(fault, target)

    on_fake(cls, tmp_path, body)


@EACH
def test_its_undo_may_run_twice_and_without_the_deed(cls: Any, tmp_path: Path) -> None:
    async def body(stack: fake.FakeStack, fault: Any, target: Any) -> None:
        steps = await fault.prepare(target)
        for key in ("f1", "f2"):
            await stack.arm(key, 10**18, steps)
            assert all(outcome.ok for outcome in await stack.undo(key))
        assert await target.state() == "running"

    on_fake(cls, tmp_path, body)


@EACH
def test_the_dead_mans_switch_undoes_it(cls: Any, tmp_path: Path) -> None:
    async def body(stack: fake.FakeStack, fault: Any, target: Any) -> None:
        await stack.arm("f1", stack.site.now_ns() + 3_000_000_000, await fault.prepare(target))
        await fault.inject(target)
        await asyncio.sleep(2.9)
        assert await fault.effective(target)
        await asyncio.sleep(0.2)
        assert not await fault.effective(target)

    on_fake(cls, tmp_path, body)


def made(cls: Any) -> Any:
    """An instance; a fault whose parameters have no defaults cannot be offered by name alone."""
    return cls()


def on_fake(cls: Any, directory: Path, body: Callable[[fake.FakeStack, Any, Any], Awaitable[None]]) -> None:
    async def main() -> None:
        context = Context(RUN, directory, lambda _: None, lambda _: None, directory, directory)
        async with fake.open(StackRequest(), context) as stack:
            target = next((t for t in stack.targets if fits(cls, t)), None)
            if target is None:
                pytest.skip(f"no target of the fake is {cls.needs.__name__}")
            await body(stack, made(cls), target)

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(main())
