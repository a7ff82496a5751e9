"""Throttle on processes of a keeper: what holds a process down is written down first, undone on request, and dies with the run."""

from __future__ import annotations

import asyncio
import os
import time
from typing import TYPE_CHECKING, Any

import pytest
from safety_lab import SLEEP, eventually, gone
from test_safety_throttle import BUSY, HERE, NEEDS_CGROUPS

from harness import events as ev
from harness.local.process import Site
from harness.local.throttle import Throttle
from harness.safety import cgroup, cycler, proc
from harness.safety.link import open_keeper
from harness.safety.registry import Registration, load
from harness.safety.spec import Spec
from harness.stack import Context

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

RUN = f"test{os.getpid()}t"


async def until(check: Callable[[], Any], what: str) -> Any:
    return await asyncio.to_thread(eventually, check, what)


def throttled(
    tmp_path: Path, argv: tuple[str, ...], body: Callable[[Throttle, Site], Awaitable[None]]
) -> list[ev.Event]:
    """Run a body with a process "coder-1" of a keeper; the events of the run. Nothing may be left when the keeper is gone."""
    events: list[ev.Event] = []

    async def run() -> None:
        async with open_keeper(tmp_path / "keeper.jsonl") as keeper:
            context = Context(RUN, tmp_path, events.append, lambda _: None, tmp_path, tmp_path)
            site = Site(context, keeper, Registration(tmp_path, RUN, tmp_path), tmp_path)
            process = await site.spawn(Spec("coder-1", argv))
            throttle = Throttle(site, "coder-1", process)
            await keeper.arm("f1", time.monotonic() + 60, [throttle.undo()])
            await body(throttle, site)
        assert keeper.left == []
        assert proc.state(process) == "gone"

    asyncio.run(run())
    return events


@pytest.mark.parametrize("undone", [True, False], ids=["undone", "left to the keeper"])
def test_without_cgroups_a_cycler_of_the_keeper_does_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, undone: bool
) -> None:
    monkeypatch.setattr(cgroup, "find", lambda: None)
    cyclers: list[proc.ProcessRef] = []

    async def body(throttle: Throttle, site: Site) -> None:
        assert throttle.percent() == 100
        await throttle.on(30)
        cyclers.append(site.keeper.processes["cycler-coder-1"])
        assert load(site.registration.path).processes["cycler-coder-1"] == cyclers[0]
        await until(lambda: proc.state(throttle.process) == "frozen", "stopped")
        assert throttle.percent() == 30
        assert cycler.find(throttle.process) == cyclers
        if undone:
            (outcome,) = await site.keeper.undo("f1")
            assert outcome.ok
            assert throttle.percent() == 100
            assert proc.state(throttle.process) == "running"

    events = throttled(tmp_path, SLEEP, body)
    eventually(gone(*cyclers), "the cycler is gone")
    made = [(e.what, e.name) for e in events if isinstance(e, ev.ResourceCreated)]
    assert made == [("process", "coder-1"), ("process", "cycler-coder-1")]


@NEEDS_CGROUPS
@pytest.mark.parametrize("undone", [True, False], ids=["undone", "left to the keeper"])
def test_with_cgroups_a_group_of_the_run_does_it(tmp_path: Path, undone: bool) -> None:
    assert HERE is not None
    group = HERE.root / f"chaos-{RUN}-coder-1"

    async def body(throttle: Throttle, site: Site) -> None:
        assert throttle.percent() == 100
        await throttle.on(5)
        assert load(site.registration.path).cgroups == [group]
        assert cgroup.members(group) == [throttle.process.pid]
        await until(lambda: throttle.percent() == 5, "held back")
        if undone:
            (outcome,) = await site.keeper.undo("f1")
            assert outcome.ok
            assert throttle.percent() == 100
            assert not group.exists()

    events = throttled(tmp_path, BUSY, body)
    assert not group.exists()
    assert ev.ResourceCreated(what="cgroup", name="coder-1", ref=str(group)) in events
