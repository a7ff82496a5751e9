"""Whether a run ended as declared. Its own table of exit codes, because the harness's may be what is broken."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from harness.evidence import VERDICT
from harness.verdict import Status

if TYPE_CHECKING:
    from pathlib import Path

    from harness.selftest.cases import Case
    from harness.verdict import Verdict

CODES = {"PASS": 0, "FAIL": 1, "INCONCLUSIVE": 3, "ABORTED": 4}
_DIRTY = 6
_JUDGE_S = 120.0


@dataclass(frozen=True)
class Played:
    """How a run ended: its verdict, the exit code a caller would see, and where it lies."""

    verdict: Verdict
    code: int
    directory: Path
    stack: str = ""

    @property
    def first(self) -> str:
        """The objective that broke first, empty if none did."""
        found = self.verdict.first_failed
        return found.objective if found else ""


class Again(NamedTuple):
    """What a fresh process says of a saved run: exit code and the verdict's bytes."""

    code: int
    said: bytes


def deviation(case: Case, played: Played) -> str | None:
    """In what a run is not as its case declares, in words; None when it is."""
    verdict = played.verdict
    wanted = _DIRTY if verdict.dirty else CODES[verdict.status]
    if played.code != wanted:
        return f"exit code {played.code} for {verdict.status}{' DIRTY' if verdict.dirty else ''}, which is {wanted}"
    if verdict.dirty:
        return f"DIRTY: {verdict.why}"
    if not case.objective:
        return None if verdict.status is Status.PASS else f"{verdict.status}: {verdict.why}"
    if verdict.status is not Status.FAIL:
        return f"{verdict.status}: {verdict.why}"
    if played.first != case.objective or not verdict.why.startswith(f"{case.objective}:"):
        return f"{played.first or 'no objective'} broke first: {verdict.why}"
    return None


def judged_again(directory: Path) -> Again:
    """Judge a saved run in a process of its own."""
    argv = [sys.executable, "-m", "harness.cli", "judge", str(directory)]
    try:
        done = subprocess.run(argv, capture_output=True, env=dict(os.environ), timeout=_JUDGE_S, check=False)
    except subprocess.TimeoutExpired:
        return Again(-1, b"")
    return Again(done.returncode, done.stdout)


def disagreement(played: Played, again: Again) -> str | None:
    """In what a fresh process does not say the same of a saved run; None when it does."""
    try:
        saved = (played.directory / VERDICT).read_bytes()
        status = json.loads(saved)["status"]
    except (OSError, ValueError, KeyError):
        return "its verdict was not saved"
    if status != played.verdict.status:
        return f"it said {played.verdict.status} and saved {status}"
    if again.said != saved:
        return "judged again in a fresh process, the verdict is not the same"
    if again.code not in {_DIRTY, CODES[status]}:
        return f"judged again in a fresh process, the exit code is {again.code}, not {CODES[status]}"
    return None
