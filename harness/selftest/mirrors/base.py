"""What a mirror is: a generator that breaks one thing, lets the harness judge, and says what came of it."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import shutil
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from harness.backends import fake
from harness.errors import HarnessError
from harness.selftest import mirrors as package
from harness.selftest.onfake import OPEN, FakeRun, play
from harness.verdict import Status

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from harness.api import Scenario
    from harness.stack import Open
    from harness.verdict import Verdict

USUAL = "replica-kill"
EMPTY: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True)
class Seen:
    """One run or one saved run under sabotage: how it ended, and whether that is a notice of the sabotage."""

    what: str
    got: str
    said: str
    noticed: bool
    directory: str


@dataclass(frozen=True)
class Mirror:
    """One sabotage. `breaks` says what, `caught_by` what has to notice."""

    name: str
    breaks: str
    caught_by: str
    see: Callable[[Lab], Iterator[Seen]]


def mirror(*, caught_by: str) -> Callable[[Callable[[Lab], Iterator[Seen]]], Mirror]:
    """Turn a generator into a Mirror named after it; the first line of its docstring is what it breaks."""

    def make(see: Callable[[Lab], Iterator[Seen]]) -> Mirror:
        name = getattr(see, "__name__", "?").replace("_", "-")
        return Mirror(name, (inspect.getdoc(see) or "").splitlines()[0].rstrip("."), caught_by, see)

    return make


class Lab:
    """Where mirrors play: on the fake backend, for what they break does not depend on the stack. One folder per run."""

    stack = fake.NAME

    def __init__(self, folder: Path) -> None:
        self.directory = folder
        self._count = 0

    @cached_property
    def healthy(self) -> FakeRun:
        """A run with nothing broken. Raises HarnessError unless it passes: what follows would prove nothing."""
        run = self.play(USUAL)
        if run.verdict.status is not Status.PASS:
            raise HarnessError(f"{USUAL} does not pass on the fake backend with nothing broken: {run.verdict.why}")
        return run

    def play(
        self, scenario: Scenario | str, *, bugs: str = "", open_: Open = OPEN, settings: Mapping[str, Any] = EMPTY
    ) -> FakeRun:
        """Play a scenario in a folder of its own."""
        return play(self.folder(), scenario, bugs=bugs, open_=open_, **dict(settings))

    def copy(self, run: FakeRun) -> Path:
        """Copy a run, to be changed."""
        return Path(shutil.copytree(run.directory, self.folder()))

    def folder(self) -> Path:
        """Name a folder that is not there yet."""
        self._count += 1
        return self.directory / f"{self._count:02}"


def ended(what: str, verdict: Verdict, directory: Path, because: str) -> Seen:
    """Compare a verdict with the rule: not PASS, and for the reason that was meant and no other."""
    got = f"{verdict.status}{' DIRTY' if verdict.dirty else ''}"
    noticed = (verdict.status is not Status.PASS or verdict.dirty) and because in verdict.why
    return Seen(what, got, verdict.why, noticed, str(directory))


@contextmanager
def replaced(owner: Any, name: str, value: object) -> Iterator[None]:
    """Put `value` in place of an attribute for a while."""
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)


def mirrors() -> list[Mirror]:
    """All of them, by name."""
    modules = [
        importlib.import_module(f"{package.__name__}.{info.name}") for info in pkgutil.iter_modules(package.__path__)
    ]
    found = [value for module in modules for value in vars(module).values() if isinstance(value, Mirror)]
    return sorted(found, key=lambda m: m.name)
