"""The mirrors are noticed, the matrix holds on the modelled stack, and the document says what is declared."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from harness.cli import main
from harness.faults import Kill
from harness.selftest.matrix import mirror_rows
from harness.selftest.mirrors.base import Mirror, mirrors
from harness.selftest.render import MARKS, written_into

if TYPE_CHECKING:
    from click.testing import Result

DOC = Path(__file__).resolve().parents[2] / "docs" / "selftest.md"
NAMED = {
    "injector-does-nothing", "injector-hits-the-control", "undo-skipped", "load-at-zero", "objective-always-true",
    "worst-class-dropped", "censored-as-exact", "exit-code-zero",
}  # fmt: skip


def test_the_mirror_set_is_whole() -> None:
    assert {m.name for m in mirrors()} >= NAMED
    assert all(m.breaks and m.caught_by for m in mirrors())


@pytest.mark.parametrize("mirror", mirrors(), ids=lambda m: m.name)
def test_sabotage_is_noticed(mirror: Mirror, tmp_path: Path) -> None:
    (row,) = mirror_rows([mirror], lambda name: tmp_path / name)
    assert row.ok, f"{row.scenario}: {row.said}"


def test_the_document_says_what_is_declared() -> None:
    text = DOC.read_text()
    assert all(mark in text for mark in MARKS)
    assert text == written_into(text), "run: python -m harness.selftest.render docs/selftest.md"


def invoke(tmp_path: Path, *argv: str) -> Result:
    env = {"CHAOS_STATE_DIR": str(tmp_path / "state"), "CHAOS_RUNS_DIR": str(tmp_path / "runs")}
    return CliRunner().invoke(main, ["selftest", "--stack", "fake", *argv], env=env)


def test_a_bug_and_its_twins_on_the_modelled_stack(tmp_path: Path) -> None:
    done = invoke(tmp_path, "-k", "replica-kill and (heartbeat-10x or slow-ready)", "-o", "json")
    assert done.exit_code == 0, done.output
    data = json.loads(done.stdout)
    assert data["ok"]
    assert [(row["kind"], row["got"]) for row in data["rows"]] == [("bug", "FAIL"), ("twin", "PASS")]
    assert all((Path(row["directory"]) / "verdict.json").is_file() for row in data["rows"])


def test_what_is_not_as_declared_is_exit_1_and_inconclusive_3(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from harness.objectives import MembershipDrops
    from harness.selftest.mirrors.always_true import always_true

    with always_true(MembershipDrops.name):
        done = invoke(tmp_path / "a", "-k", "heartbeat-10x")
    assert done.exit_code == 1
    assert "✘  bug" in done.stdout
    assert "as declared: 0 of 1 bugs" in done.stdout

    async def nothing(_fault: object, _target: object) -> None:
        return

    monkeypatch.setattr(Kill, "inject", nothing)
    done = invoke(tmp_path / "b", "-k", "heartbeat-10x")
    assert (done.exit_code, "not proven" in done.stdout) == (3, True), done.output


def test_nothing_that_fits_and_no_expression(tmp_path: Path) -> None:
    done = invoke(tmp_path, "-k", "nosuch")
    assert (done.exit_code, "no row of the selftest fits 'nosuch'" in done.output) == (5, True)
    assert invoke(tmp_path, "-k", "bug and").exit_code == 2
    assert not (tmp_path / "runs").exists()


def test_ctrl_c_prints_what_was_played(tmp_path: Path) -> None:
    env = os.environ | {"CHAOS_STATE_DIR": str(tmp_path / "state"), "CHAOS_RUNS_DIR": str(tmp_path / "runs")}
    argv = [sys.executable, "-m", "harness.cli", "selftest", "--stack", "fake", "-k", "replica-kill"]
    with subprocess.Popen(argv, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        first = process.stderr.readline()
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert first.startswith("1/"), first + err
    assert process.returncode == 130, err
    assert "not played" in out
    assert "Traceback" not in err
