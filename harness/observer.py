"""The runner's eyes: follows the meter's record file while it grows, and waits for folds over it.

It reads the very records the judge will read, in the same order, so what the runner waits for is what is judged.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import anyio

from harness.folds import InOrder
from harness.records import SLOT, Slot
from harness.timeline import SLOTS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path

    from harness.stack import Meter


class Fold(Protocol):
    """Something that looks at slots until it is done."""

    @property
    def done(self) -> bool: ...  # noqa: D102
    @property
    def seen(self) -> str: ...  # noqa: D102
    def feed(self, slot: Slot) -> None: ...  # noqa: D102


class Observer:
    """Feeds every waiting fold with every slot, in due order by lane."""

    def __init__(self, directory: Path, now_ns: Callable[[], int]) -> None:
        """Follow `slots.bin` of `directory`."""
        self._path = directory / SLOTS
        self._offset = 0
        self._order = InOrder()
        self._folds: list[Fold] = []
        self._now_ns = now_ns
        self._ticked = anyio.Event()
        self.live: Mapping[str, Any] = {}
        self.kept: list[Slot] = []
        """Slots seen since `keep()`, in the order they were fed."""
        self._keeping = False

    def keep(self) -> None:
        """Start (again) to keep slots, for a baseline or for a fold that is waited for later."""
        self.kept, self._keeping = [], True

    def take(self) -> list[Slot]:
        """End keeping and give what was kept."""
        kept, self.kept, self._keeping = self.kept, [], False
        return kept

    async def run(self, meter: Meter) -> None:
        """Follow the meter until cancelled."""
        while True:
            self.live = await meter.tick()
            for slot in self._order.feed(self._new()):
                if self._keeping:
                    self.kept.append(slot)
                for fold in self._folds:
                    fold.feed(slot)
            self._ticked.set()
            self._ticked = anyio.Event()

    async def wait(self, fold: Fold, timeout_s: float, before: Iterable[Slot] = ()) -> bool:
        """Feed `fold` with `before`, then with all from now on until it is done; False after `timeout_s` seconds.

        Ask `fold.seen` what it saw last. Nothing lies between `before` and now if it was just taken (`take()`).
        """
        for slot in before:
            fold.feed(slot)
        self._folds.append(fold)
        try:
            with anyio.move_on_after(timeout_s):
                while not fold.done:
                    await self._ticked.wait()
        finally:
            self._folds.remove(fold)
        return fold.done

    async def tick(self) -> None:
        """Wait for the next look."""
        await self._ticked.wait()

    def _new(self) -> Iterator[Slot]:
        with self._path.open("rb") as file:
            file.seek(self._offset)
            data = file.read()
        whole = len(data) - len(data) % SLOT.size
        self._offset += whole
        for fields in SLOT.iter_unpack(data[:whole]):
            yield Slot._make(fields)
