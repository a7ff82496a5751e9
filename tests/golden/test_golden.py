from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from make import ARCHIVE, DERIVED, HERE, RUNS, SHORT, unpack

from harness import discover
from harness.evidence import conclude, write_manifest
from harness.reports.text import STRIP
from harness.verdict import Status

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = HERE.parents[1]
JUDGE = """
import sys
from pathlib import Path
from harness.evidence import conclude, write_manifest
from harness.reports.text import STRIP
verdict, report = conclude(Path(sys.argv[1]))
sys.stdout.buffer.write((verdict.to_json() + "\\0" + report).encode())
"""
EACH = pytest.mark.parametrize("name", sorted(RUNS))


@cache
def saved(name: str) -> tuple[dict[str, Any], str]:
    return json.loads((HERE / name / "verdict.json").read_text()), (HERE / name / "report.txt").read_text()


def findings() -> Iterator[tuple[str, str, str]]:
    """Run, objective class and status of every finding of every saved run."""
    for name, (scenario, _) in RUNS.items():
        for objective, finding in zip(scenario.objectives, saved(name)[0]["findings"], strict=True):
            yield name, type(objective).__name__, finding["status"]


def test_every_folder_is_a_known_run() -> None:
    assert {p.parent.name for p in HERE.glob(f"*/{ARCHIVE}")} == set(RUNS)


@EACH
def test_a_saved_run_is_small(name: str) -> None:
    assert sum(p.stat().st_size for p in (HERE / name).iterdir()) < 64 * 1024


@EACH
@pytest.mark.parametrize(
    "environ",
    [
        {"TZ": "Asia/Kathmandu", "LC_ALL": "C", "PYTHONHASHSEED": "1"},
        {"TZ": "America/St_Johns", "LC_ALL": "tr_TR.UTF-8", "PYTHONHASHSEED": "4242", "COLUMNS": "40"},
    ],
    ids=["kathmandu", "st-johns"],
)
def test_it_is_judged_the_same_anywhere(name: str, environ: dict[str, str], tmp_path: Path) -> None:
    directory = unpack(name, tmp_path / "moved" / "elsewhere")
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **environ}
    done = subprocess.run([sys.executable, "-c", JUDGE, str(directory)], env=env, capture_output=True, check=True, cwd="/")
    verdict, report = done.stdout.decode().split("\0")
    assert verdict == (HERE / name / "verdict.json").read_text()
    assert report == (HERE / name / "report.txt").read_text()


@EACH
def test_what_follows_from_the_evidence_is_not_part_of_it(name: str, tmp_path: Path) -> None:
    directory = unpack(name, tmp_path / "run")
    before = {file.name: file.read_bytes() for file in directory.iterdir()}
    conclude(directory)
    assert {file.name: file.read_bytes() for file in directory.iterdir()} == before, "judging wrote something"
    assert not [file for file in DERIVED if (directory / file).exists()]


@pytest.mark.parametrize(
    ("name", "status", "why"),
    [
        ("kill-pass", "PASS", "all 14 objectives kept"),
        ("freeze-pass", "PASS", "all 4 objectives kept"),
        ("kill-strict", "FAIL", "bad-seconds"),
        ("kill-ack-before-commit", "FAIL", "writes-kept: acknowledged and lost"),
        ("kill-ready-before-pool", "FAIL", "none-before-ready"),
        ("kill-heartbeat-10x", "FAIL", "membership-drops"),
        ("kill-watch-no-snapshot", "FAIL", "sessions-back watch.eager"),
        ("kill-echo-doubles", "FAIL", "echo-kept"),
        ("rolling-pass", "PASS", "all 6 objectives kept"),
        ("stop-orphans", "FAIL", "did not end, first build "),
        ("rolling-no-drain", "FAIL", "goodbye watch.eager: "),
        ("stop-strict", "FAIL", "exits: coder-"),
        ("scale-down-pass", "PASS", "all 2 objectives kept"),
        ("balancer-cuts-all", "FAIL", "drop-share watch.eager: watch-"),
        ("stop-ignored", "FAIL", "had not ended after 3.0"),
        ("cpu-throttle-pass", "PASS", "all 2 objectives kept"),
        ("cpu-throttle-shares-lock", "FAIL", "others-keep-pace: p95 of coder-"),
        ("db-latency-pass", "PASS", "all 1 objectives kept"),
        ("db-latency-spreads", "FAIL", "others-keep-pace: p95 of coder-"),
        ("tells-latency-pass", "PASS", "all 1 objectives kept"),
        ("tells-latency-never", "FAIL", "it says 0.0 ms"),
        ("health-pass", "PASS", "all 1 objectives kept"),
        ("health-never-warns", "FAIL", "did not warn, its pings took 20 ms"),
        ("doses-pass", "PASS", "all 1 objectives kept"),
        ("doses-overdose", "FAIL", "latency-by-dose: p95 "),
        ("cold-start-pass", "PASS", "all 2 objectives kept"),
        ("cold-start-migrates-twice", "FAIL", "schema-clean: 2 rows"),
        ("cold-start-finds-dirty", "FAIL", "all-ready: 1 of 2 not ready"),
        ("freeze-holds-lock", "FAIL", "others-not-blocked"),
        ("kill-that-does-nothing", "INCONCLUSIVE", "not proven"),
    ],
)
def test_it_shows_what_its_name_says(name: str, status: str, why: str) -> None:
    verdict, report = saved(name)
    assert verdict["status"] == status
    assert why in verdict["why"]
    assert report.startswith(f"{status}  golden-")


@pytest.mark.parametrize("objective", sorted(discover.objectives()))
@pytest.mark.parametrize("status", [Status.PASS, Status.FAIL])
def test_every_objective_has_a_run_it_passes_and_one_it_fails(objective: str, status: Status) -> None:
    runs = [name for name, cls, found in findings() if cls == objective and found == status]
    assert runs, f"no golden run in which {objective} says {status}: give one to tests/golden/make.py"


def test_the_runs_are_short() -> None:
    assert SHORT["time_scale"] < 0.2
    assert Path(HERE, "make.py").is_file()


@EACH
def test_a_disguised_version_changes_only_the_strip(name: str, tmp_path: Path) -> None:
    """Nobody asks who answers: with another version text the verdict's bytes are the same."""
    directory = unpack(name, tmp_path)
    before, shown = conclude(directory)
    path = directory / "events.jsonl"
    path.write_text(path.read_text().replace("v0.0.0-standin-fake", "v2.36.0+abcdef0"))
    write_manifest(directory)
    after, disguised = conclude(directory)
    assert after.to_json() == before.to_json()
    strip = f"  [{STRIP}]\n"
    assert strip in shown
    assert disguised == shown.replace(strip, "").replace("v0.0.0-standin-fake", "v2.36.0+abcdef0")
