"""Opens a stack of any backend, under the clock it was made for."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from importlib import import_module
from pkgutil import iter_modules
from typing import TYPE_CHECKING

import engine_marks
import pytest

from harness import backends
from harness import events as ev
from harness.config import Settings
from harness.stack import Context, StackRequest
from harness.virtualtime import VirtualLoop

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine
    from pathlib import Path

    from harness.stack import Stack

SCALE = 0.2
IN_MEMORY = {"fake"}


def needs_more() -> dict[str, str]:
    """Backends that this machine cannot open, and why."""
    return {"compose": engine_marks.missing()} if engine_marks.missing() else {}


def parameters() -> list[object]:
    """Every backend there is; those that start processes are marked."""
    names = sorted(info.name for info in iter_modules(backends.__path__))
    marks = {name: [] if name in IN_MEMORY else [pytest.mark.e2e] for name in names}
    for name, why in needs_more().items():
        marks.get(name, []).append(pytest.mark.skip(reason=why))
    return [pytest.param(name, id=name, marks=marks[name]) for name in names]


@dataclass
class Lab:
    """One backend, and what it reported."""

    backend: str
    directory: Path
    state: Path
    events: list[ev.Event] = field(default_factory=list)

    def run(self, body: Callable[[Stack], Coroutine[object, object, None]]) -> None:
        """Open a stack, run the body on it, close it."""

        async def main() -> None:
            async with self.opened() as stack:
                await body(stack)

        with asyncio.Runner(loop_factory=VirtualLoop if self.backend in IN_MEMORY else None) as runner:
            runner.run(main())

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[Stack]:
        """Open a stack of three replicas."""
        settings = Settings()
        context = Context(
            "contract", self.directory, self.events.append, lambda _: None, settings.cache_dir, self.state
        )
        request = StackRequest(time_scale=SCALE, ports=settings.ports, offline=True)
        async with import_module(f"harness.backends.{self.backend}").open(request, context) as stack:
            yield stack
