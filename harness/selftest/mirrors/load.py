"""A load that asks for nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from harness.selftest.mirrors.base import USUAL, Lab, Seen, ended, mirror
from harness.selftest.mirrors.stacks import Cheat, opening

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness.stack import LoadRequest


class _NoLoad(Cheat):
    """Starts the load with nobody in it."""

    def load(self, request: LoadRequest) -> Any:
        """Start it."""
        return self.honest.load(replace(request, users=0, tokens=()))


@mirror(caught_by="the warm-up, which waits for the load by its own records")
def load_at_zero(lab: Lab) -> Iterator[Seen]:
    """The load starts, and asks for nothing."""
    run = lab.play(USUAL, open_=opening(_NoLoad))
    yield ended(USUAL, run.verdict, run.directory, "the load makes 0.0 of")
