from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "golden"))

from make import unpack

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture(scope="session")
def _unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return unpack("kill-pass", tmp_path_factory.mktemp("golden") / "run")


@pytest.fixture
def passed(_unpacked: Path, tmp_path: Path) -> Path:
    """A run of our own that passed."""
    return Path(shutil.copytree(_unpacked, tmp_path / "run"))


@pytest.fixture
def light(passed: Path) -> Path:
    """The same without its records, and with little to say about the truth: quick to judge, again and again."""
    lines = [json.loads(line) for line in (passed / "events.jsonl").read_text().splitlines()]
    for line in lines:
        if line["kind"] == "truth":
            line["builds"] = dict([*line["builds"].items()][:1])
    (passed / "events.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    for file in passed.iterdir():
        if file.name not in {"events.jsonl", "manifest.json"}:
            os.truncate(file, 0)
    return passed


@pytest.fixture
def resealed() -> Callable[[Path], None]:
    """Seal a run again after a change that is meant."""
    from harness.evidence import write_manifest

    return write_manifest
