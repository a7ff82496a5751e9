"""Each seeded bug of the stand-in turns its scenario FAIL with the right objective first; its near-miss twins pass.

On the local stack, as a user would: by the command line. What there is to play is what the scenarios declare (`red_by`).
Those tagged `smoke` are played here at the selftest's pace, with the server's timers at a quarter of their length (the
balancer's and the clients' stay real); the soak plays all of them at full length, every twin alone.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from harness import discover
from harness.selftest.cases import QUICK, Case, cases

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.e2e

CASES = [case for case in cases(discover.scenarios().values()) if not case.modelled]
LONG = {"late-write-at-thaw", "late-write-checked"}
"""Frozen for 17 s: most of a minute each, which the soak has."""
SMOKE = [case for case in CASES if "smoke" in case.scenario.tags and not LONG.intersection(case.bugs)]
ALONE = [replace(case, bugs=(bug,)) for case in CASES for bug in case.bugs]

TRIES = 3
NO_CALL = SimpleNamespace(params={})
Played = tuple[int, dict[str, Any], str]


def title(case: Case) -> str:
    return f"{case.scenario.name}-{case.name}"


def play(case: Case, tmp_path: Path, **pace: str) -> Played:
    """Run a case; return exit code, verdict and everything said.

    Only a run that is INCONCLUSIVE because the meter itself was starved is repeated.
    """
    for number in range(TRIES):
        code, verdict, said = once(case, tmp_path / str(number), {**pace, **case.settings})
        if code != 3 or not any(gate["meter"] and not gate["ok"] for gate in verdict["gates"]):
            break
    return code, verdict, said


def once(case: Case, tmp_path: Path, settings: dict[str, str]) -> Played:
    pairs = [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
    argv = [sys.executable, "-m", "harness.cli", "run", "-s", case.scenario.name, "--runs-dir", str(tmp_path / "runs")]
    env = os.environ | {"STANDIN_BUGS": case.name, "CHAOS_STATE_DIR": str(tmp_path / "state")}
    done = subprocess.run([*argv, *pairs], env=env, capture_output=True, text=True, timeout=400, check=False)
    said = done.stdout + done.stderr
    runs = list((tmp_path / "runs").glob("2*/verdict.json"))
    assert len(runs) == 1, said
    return done.returncode, json.loads(runs[0].read_text()), said


@pytest.fixture(scope="module")
def quick(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Future[Played]]]:
    """The quick runs that were asked for, one after the other: two stacks at once are too much for two cores."""
    base = tmp_path_factory.mktemp("seeded")
    chosen = {
        title(value)
        for item in request.session.items
        for value in getattr(item, "callspec", NO_CALL).params.values()
        if isinstance(value, Case)
    }
    with ThreadPoolExecutor(1) as pool:
        yield {
            title(case): pool.submit(play, case, base / title(case).partition(",")[0], **QUICK)
            for case in SMOKE
            if title(case) in chosen
        }


def check(case: Case, played: Played) -> None:
    code, verdict, said = played
    failed = [f["objective"] for f in verdict["findings"] if f["status"] == "FAIL"]
    if case.objective:
        assert (code, failed[:1]) == (1, [case.objective]), said
        assert str(verdict["why"]).startswith(case.objective), said
    else:
        assert code == 0, said


@pytest.mark.parametrize("case", SMOKE, ids=title)
def test_a_bug_is_caught_and_its_twins_pass(case: Case, quick: dict[str, Future[Played]]) -> None:
    check(case, quick[title(case)].result())


@pytest.mark.soak
@pytest.mark.parametrize("case", ALONE, ids=title)
def test_so_they_are_at_full_time_each_twin_alone(case: Case, tmp_path: Path) -> None:
    check(case, play(case, tmp_path))


def test_what_is_played_is_never_nothing() -> None:
    assert {case.kind for case in SMOKE} == {"bug", "twin"}
    assert {bug for case in CASES for bug in case.bugs} >= LONG
