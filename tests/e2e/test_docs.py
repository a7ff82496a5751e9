"""The quick start is true: its examples are the files beside it, short, and they run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "docs" / "examples"


@pytest.mark.parametrize("name", ["replica_abort.py", "abort.py"])
def test_example_is_short_and_shown_as_it_is(name: str) -> None:
    text = (EXAMPLES / name).read_text()
    assert len(text.splitlines()) < 30
    assert f"```python\n{text}```" in (ROOT / "docs" / "quickstart.md").read_text()


@pytest.mark.e2e
def test_the_example_runs(tmp_path: Path) -> None:
    argv = [sys.executable, "-m", "harness.cli", "run", "-s", str(EXAMPLES / "replica_abort.py")]
    argv += ["--runs-dir", str(tmp_path / "runs"), "--time-scale", "0.25", "--set", "baseline=3s", "--set", "calm=3s"]
    env = os.environ | {"CHAOS_STATE_DIR": str(tmp_path / "state")}
    done = subprocess.run(argv, env=env, capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "abort on coder-" in done.stdout
