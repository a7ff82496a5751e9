"""What is to be played with seeded bugs: found in the scenarios' own `red_by`, never listed here."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from harness.api import Scenario

QUICK = {"time_scale": "0.25", "baseline": "4s", "calm": "2s", "recovery": "14s", "prove": "8s"}
"""The pace of a selftest on a real stack: the shortest baseline whose p95 is no noise (2 s were), and half a minute a run."""


@dataclass(frozen=True)
class Case:
    """One run: a scenario with some bugs, or with the twins of several, and how it must end.

    `objective` is the one that must break first, empty for twins: those must pass.
    """

    scenario: Scenario
    bugs: tuple[str, ...]
    objective: str = ""
    settings: Mapping[str, str] = field(default_factory=dict)
    modelled: bool = False
    """Played on the modelled stack only."""

    @property
    def kind(self) -> str:
        """Bug or twin."""
        return "bug" if self.objective else "twin"

    @property
    def name(self) -> str:
        """Its bugs as STANDIN_BUGS wants them."""
        return ",".join(self.bugs)

    @property
    def expected(self) -> str:
        """For people."""
        return f"FAIL, {self.objective} first" if self.objective else "PASS"


def cases(scenarios: Iterable[Scenario]) -> list[Case]:
    """For each scenario its bugs, each alone, then its twins: those that need the same settings in one run."""
    found: list[Case] = []
    for scenario in scenarios:
        found += [Case(scenario, (red.bug,), red.objective, red.settings, red.modelled) for red in scenario.red_by]
        found += _together(scenario)
    return found


def _together(scenario: Scenario) -> list[Case]:
    """Twins by what they need, each named once."""
    groups: dict[tuple[bool, tuple[tuple[str, str], ...]], dict[str, None]] = {}
    for red in scenario.red_by:
        if red.twin:
            groups.setdefault((red.modelled, tuple(sorted(red.settings.items()))), {}).setdefault(red.twin)
    return [
        Case(scenario, tuple(twins), settings=dict(settings), modelled=modelled)
        for (modelled, settings), twins in groups.items()
    ]
