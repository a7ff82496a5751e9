"""The run directory: made at the start, sealed at the end with a manifest, then judged and drawn. Never changed after."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from harness.errors import NotReady, RunDirError
from harness.judge import judge_view
from harness.reports.text import render
from harness.timeline import MANIFEST, RunView

if TYPE_CHECKING:
    from pathlib import Path

    from harness.verdict import Verdict

VERDICT = "verdict.json"
REPORT = "report.txt"
_DERIVED = (MANIFEST, VERDICT, REPORT, "teardown.json", "keeper.jsonl")
NEED_BYTES = 64 * 1024 * 1024
"""A run writes 10 to 30 MB; less free space than this is refused at the start."""


def make_run_dir(base: Path, scenario: str, run: str) -> Path:
    """Create `<base>/<UTC>-<scenario>-<run>`. Raises NotReady or RunDirError."""
    stamp = datetime.now(UTC).strftime("%Y-%m-%dT%H%M%S")
    directory = base / f"{stamp}-{scenario}-{run}"
    try:
        directory.mkdir(parents=True)
        free = shutil.disk_usage(directory).free
        if free < NEED_BYTES:
            directory.rmdir()
            raise NotReady(
                f"{base}: {free // 2**20} MiB free, a run needs {NEED_BYTES // 2**20}; free space or set CHAOS_RUNS_DIR"
            )
    except OSError as error:
        raise RunDirError(f"cannot make a run directory in {base}: {error.strerror}") from error
    return directory.resolve()


def point_latest(directory: Path) -> None:
    """Let `latest` beside the run directory name it; a file system without links simply has none."""
    latest = directory.parent / "latest"
    try:
        latest.unlink(missing_ok=True)
        latest.symlink_to(directory.name)
    except OSError:
        return


def write_manifest(directory: Path) -> None:
    """Write sha256 and size of every evidence file. Raises RunDirError when the disk refuses."""
    try:
        files = sorted(p for p in directory.rglob("*") if p.is_file() and p.name not in _DERIVED)
        rows = {
            str(p.relative_to(directory)): hashlib.sha256(p.read_bytes()).hexdigest()
            for p in files
            if "logs" not in p.parts
        }
        (directory / MANIFEST).write_text(json.dumps({"v": 1, "files": rows}, indent=1, sort_keys=True) + "\n")
    except OSError as error:
        raise RunDirError(f"cannot seal {directory}: {error.strerror}") from error


def conclude(directory: Path) -> tuple[Verdict, str]:
    """Judge a directory and render its report. Pure: nothing is written."""
    view = RunView(directory)
    verdict = judge_view(view)
    return verdict, render(view, verdict)


def save(directory: Path, verdict: Verdict, report: str) -> None:
    """Write verdict and report beside the evidence. Raises RunDirError when the disk refuses."""
    try:
        (directory / REPORT).write_text(report)
        with (directory / VERDICT).open("w") as file:
            file.write(verdict.to_json())
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise RunDirError(f"cannot write the verdict into {directory}: {error.strerror}") from error
