"""Whole runs on the fake backend under virtual time, and what the scenarios say must turn them red."""

from __future__ import annotations

from harness import discover
from harness.selftest.onfake import RUN, play
from harness.selftest.onfake import FakeRun as Played

__all__ = ["BUGS", "RUN", "TWINS", "Played", "play"]

REDS = [(red, scenario.name) for scenario in discover.scenarios().values() for red in scenario.red_by]

BUGS = [(red.bug, scenario, red.objective) for red, scenario in REDS]
"""Seeded bug, the scenario that must catch it, and the objective that must fail first."""

TWINS = list(dict.fromkeys((red.twin, scenario) for red, scenario in REDS if red.twin))
"""Legal, only slow: and the scenario that must let it pass."""
