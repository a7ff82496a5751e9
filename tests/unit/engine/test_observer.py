"""Unit tests for the runner's eyes: what a fold that is waited for later has seen before it was asked for."""

import tempfile
from pathlib import Path

import anyio
import pytest

from harness.folds import Latch
from harness.observer import Observer
from harness.records import SLOT, Outcome, Slot
from harness.timeline import SLOTS


def slot(number: int, outcome: Outcome = Outcome.OK) -> Slot:
    at = 1_000 + number * 100
    return Slot(
        **dict.fromkeys(Slot._fields, 0) | {"slot": number, "intended": at, "done": at + 10, "outcome": outcome}
    )


class Meter:
    """Writes the next batch of slots at each tick, then waits."""

    def __init__(self, path: Path, *batches: list[Slot]) -> None:
        path.touch()
        self._path, self._batches, self.read = path, list(batches), anyio.Event()

    async def tick(self) -> dict[str, object]:
        await anyio.lowlevel.checkpoint()
        if not self._batches:
            self.read.set()
            await anyio.sleep_forever()
        with self._path.open("ab") as file:
            file.writelines(SLOT.pack(*slot) for slot in self._batches.pop(0))
        return {}


def latch(need: int = 2, since: int = 0) -> Latch:
    return Latch(0, frozenset({Outcome.OK}), need, since)


async def see(*batches: list[Slot]) -> Observer:
    """Give an observer that kept all of these."""
    with tempfile.TemporaryDirectory() as folder:
        observer = Observer(Path(folder), lambda: 0)
        observer.keep()
        meter = Meter(Path(folder) / SLOTS, *batches)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(observer.run, meter)
            await meter.read.wait()
            tasks.cancel_scope.cancel()
    return observer


@pytest.mark.anyio
async def test_a_fold_is_fed_with_what_was_kept_before_it_was_asked_for() -> None:
    observer = await see([slot(0), slot(1)], [slot(2, Outcome.READ_TIMEOUT)])
    fold = latch(need=3)
    assert not await observer.wait(fold, 0.0, before=observer.take())
    assert fold.seen == "read timeout", "the last it saw"
    assert await observer.wait(latch(), 0.0, before=[slot(0), slot(1)])


@pytest.mark.anyio
async def test_what_was_taken_is_gone_and_keeping_is_over() -> None:
    observer = await see([slot(0)], [slot(1)])
    assert [kept.slot for kept in observer.take()] == [0, 1]
    assert observer.take() == []


@pytest.mark.anyio
async def test_keeping_again_forgets_what_was_kept() -> None:
    observer = await see([slot(0)])
    observer.keep()
    assert observer.take() == []
