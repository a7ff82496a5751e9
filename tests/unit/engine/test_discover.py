from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from harness import discover
from harness.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

GOOD = '''"""A promise to users."""
from harness import Run, one, scenario
from harness.faults import Kill
from harness.objectives import BadSeconds


@scenario(objectives=[BadSeconds(at_most=1)])
async def {name}(run: Run) -> None:
    async with run.fault(Kill(), at=one("coder")):
        await run.hold(1)
'''


def refused(path: Path, text: str) -> str:
    path.write_text(text)
    with pytest.raises(UsageError) as caught:
        discover.scenario(str(path))
    return str(caught.value)


def test_a_file_of_ones_own_is_found_by_path(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(GOOD.format(name="my_own"))
    found = discover.scenario(str(path))
    assert (found.name, found.promise) == ("my-own", "A promise to users.")
    assert "my-own" in discover.scenarios(tmp_path)


def test_one_that_does_not_import_is_told_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "bad.py"
    assert refused(path, "x = 1\ny = x.nothing\n").startswith(f"{path}:2: does not import: AttributeError: ")
    assert refused(path, "x = (\n").startswith(f"{path}:1: does not import: ")
    assert "ModuleNotFoundError" in refused(path, "\n\nimport no_such_module_anywhere\n")
    assert f"{path}:3: " in refused(path, "\n\nimport no_such_module_anywhere\n")


def test_an_unknown_fault_or_objective_is_told_by_name(tmp_path: Path) -> None:
    text = refused(tmp_path / "bad.py", "from harness.faults import Explode\n")
    assert "bad.py:1" in text
    assert "Explode" in text


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("x = 1\n", "holds no scenario; decorate an async function with @scenario"),
        (
            GOOD.format(name="a") + GOOD.format(name="b").partition("\n")[2],
            "holds 2 scenarios (a, b); keep one per file",
        ),
        (GOOD.format(name="a").replace("[BadSeconds(at_most=1)]", "[]"), "it has no objectives, so it could only pass"),
        (GOOD.format(name="a").replace('"""A promise to users."""\n', ""), "whose first line is the promise to users"),
    ],
)
def test_what_is_no_scenario_says_why(text: str, says: str, tmp_path: Path) -> None:
    assert says in refused(tmp_path / "bad.py", text)


def test_an_unknown_name_gives_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"unknown scenario 'replica-kil' \(did you mean 'replica-kill'\?\); known: "):
        discover.scenario("replica-kil")


def test_a_missing_file_is_told() -> None:
    with pytest.raises(UsageError, match=r"nowhere\.py: no such file"):
        discover.scenario("nowhere.py")


def test_a_repeated_name_is_refused(tmp_path: Path) -> None:
    (tmp_path / "again.py").write_text(GOOD.format(name="replica_kill"))
    with pytest.raises(UsageError, match="scenario replica-kill exists already in "):
        discover.scenarios(tmp_path)
