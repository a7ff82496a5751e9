"""Every scenario, fault and objective has its section in the catalogue, and the catalogue names nothing else."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from harness import discover
from harness.config import Settings
from harness.faults.base import name_of
from harness.listing import listing
from harness.showing import show, stacks

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "catalogue.md").read_text()
SCENARIOS = sorted(discover.scenarios())
FAULTS = sorted(name_of(cls) for cls in discover.faults().values())
OBJECTIVES = sorted(cls.name for cls in discover.objectives().values())  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("part", "names"),
    [("Scenarios", SCENARIOS), ("Faults", FAULTS), ("Objectives", OBJECTIVES)],
    ids=lambda v: str(v)[:9],
)
def test_the_catalogue_has_a_section_for_each(part: str, names: list[str]) -> None:
    inside = TEXT.partition(f"\n# {part}\n")[2].partition("\n# ")[0]
    assert sorted(re.findall(r"^### (\S+)$", inside, re.MULTILINE)) == names


@pytest.mark.parametrize("name", [*SCENARIOS, *FAULTS, *OBJECTIVES, *stacks()])
def test_each_can_be_shown(name: str) -> None:
    text = show(name, Settings().env)
    assert name in text
    assert text.endswith("\n")


def test_a_fault_is_used_by_those_who_use_it_and_not_its_namesake() -> None:
    assert "used by  rolling-restart\n" in show("restart", Settings().env)


@pytest.mark.parametrize("what", ["scenarios", "faults", "objectives", "stacks", "settings"])
def test_each_kind_can_be_listed(what: str) -> None:
    lines = listing(what).splitlines()
    assert len(lines) > 1
    assert all(line.strip() for line in lines)
