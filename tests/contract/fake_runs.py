"""Whole runs on the fake backend under virtual time, and what the scenarios say must turn them red."""

from __future__ import annotations

from dataclasses import replace

from harness import discover
from harness.selftest.cases import cases
from harness.selftest.onfake import RUN, play
from harness.selftest.onfake import FakeRun as Played

__all__ = ["BUGS", "RUN", "TWINS", "Played", "play"]

_CASES = cases(discover.scenarios().values())
BUGS = [case for case in _CASES if case.objective]
TWINS = [replace(case, bugs=(twin,)) for case in _CASES if not case.objective for twin in case.bugs]
"""Each alone: legal, only slow."""
