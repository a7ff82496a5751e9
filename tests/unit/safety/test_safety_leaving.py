"""Opening a keeper, and leaving it behind in every way there is."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import anyio
import pytest
from safety_lab import eventually, gone, sleeper

from harness.errors import KeeperLost
from harness.safety.link import open_keeper

if TYPE_CHECKING:
    from pathlib import Path

    from harness.safety import proc


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "keeper.jsonl"


def test_what_down_could_not_remove_is_named(log: Path, tmp_path: Path) -> None:
    (tmp_path / "precious").mkdir()
    (tmp_path / "chaos-alias").symlink_to(tmp_path / "precious")

    async def body() -> list[str]:
        async with open_keeper(log) as keeper:
            await keeper.own(tmp_path / "chaos-alias")
            return await keeper.down()

    (left,) = asyncio.run(body())
    assert str(tmp_path / "chaos-alias") in left


def test_leaving_finishes_although_cancelled(log: Path) -> None:
    async def body() -> None:
        refs: list[proc.ProcessRef] = []

        async def work() -> None:
            async with open_keeper(log) as keeper:
                refs.extend([keeper.ref, await keeper.spawn(sleeper())])
                await asyncio.Event().wait()

        task = asyncio.create_task(work())
        await asyncio.to_thread(eventually, lambda: len(refs) == 2, "started")
        task.cancel()
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert gone(*refs)()

    asyncio.run(body())


def test_leaving_finishes_although_a_scope_is_cancelled(log: Path) -> None:
    async def body() -> None:
        refs: list[proc.ProcessRef] = []
        with anyio.CancelScope() as scope:
            async with open_keeper(log) as keeper:
                refs.extend([keeper.ref, await keeper.spawn(sleeper())])
                scope.cancel()
                await asyncio.Event().wait()
        assert scope.cancelled_caught
        assert keeper.left == []
        assert gone(*refs)()

    asyncio.run(body())


def test_a_keeper_that_cannot_start_says_why(log: Path, tmp_path: Path) -> None:
    async def run() -> None:
        async with open_keeper(log, root=tmp_path):
            pass

    with pytest.raises(KeeperLost, match="No module named 'harness'"):
        asyncio.run(run())
