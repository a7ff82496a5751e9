"""What was skipped is the last thing that is said, and an error under CI=true: the tests' own conftest, in a folder apart."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]
SOME = """
import pytest

def test_passes(): pass

@pytest.mark.skip(reason="no moon")
@pytest.mark.parametrize("n", [1, 2])
def test_by_night(n): pass
"""


def played(folder: Path, *more: str, ci: str) -> tuple[int, list[str]]:
    env = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST_")}
    env |= {"CI": ci, "SKIPPED_TESTS": str(folder / "skipped")}
    argv = [sys.executable, "-m", "pytest", "-p", "no:locust", "-p", "no:cacheprovider", *more]
    done = subprocess.run(argv, cwd=folder, env=env, capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stdout.splitlines()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shutil.copy(TESTS / "conftest.py", tmp_path)
    (tmp_path / "test_some.py").write_text(SOME)
    return tmp_path


def test_the_last_line_says_it_of_every_call(folder: Path) -> None:
    code, lines = played(folder, "-n", "2", ci="")
    assert (code, lines[-1]) == (0, "skipped here: 2 tests (Skipped: no moon)")
    code, lines = played(folder, "-k", "passes", ci="")
    assert (code, lines[-1]) == (0, "skipped here: 2 tests (Skipped: no moon)")


@pytest.mark.parametrize("more", [[], ["-n", "2"]], ids=["one process", "side by side"])
def test_in_ci_it_is_an_error(folder: Path, more: list[str]) -> None:
    code, lines = played(folder, *more, ci="true")
    assert code == 1
    assert any("skipped under CI=true" in line and "no moon" in line for line in lines)
    assert "1 passed, 2 errors" in lines[-1]


def test_nothing_skipped_is_not_mentioned(folder: Path) -> None:
    code, lines = played(folder, "-k", "passes", ci="")
    assert (code, "1 passed, 2 deselected" in lines[-1]) == (0, True)
