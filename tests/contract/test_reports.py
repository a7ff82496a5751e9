from __future__ import annotations

import importlib
import pkgutil
from typing import TYPE_CHECKING, Any

import pytest

from harness import reports
from harness.judge import judge_view
from harness.timeline import RunView

if TYPE_CHECKING:
    from collections.abc import Callable

    from fake_runs import Played

REPORTS = [importlib.import_module(f"harness.reports.{info.name}") for info in pkgutil.iter_modules(reports.__path__)]
DRAWN = [module for module in REPORTS if hasattr(module, "render")]
EACH = pytest.mark.parametrize("report", DRAWN, ids=[module.__name__.rpartition(".")[2] for module in DRAWN])


def test_there_is_a_report() -> None:
    assert DRAWN


@EACH
@pytest.mark.parametrize(("scenario", "bug"), [("replica-kill", ""), ("replica-kill", "watch-no-snapshot")])
def test_it_is_a_function_of_the_run(report: Any, scenario: str, bug: str, played: Callable[..., Played]) -> None:
    directory = played(scenario, bug).directory

    def draw() -> str:
        view = RunView(directory)
        return str(report.render(view, judge_view(view)))

    before = sorted((p.name, p.stat().st_mtime_ns) for p in directory.iterdir())
    text = draw()
    assert text == draw()
    assert text.endswith("\n")
    assert str(directory) not in text, "a report names no folder: it is the same after a move"
    assert before == sorted((p.name, p.stat().st_mtime_ns) for p in directory.iterdir())


@EACH
def test_it_says_what_was_decided_and_why(report: Any, played: Callable[..., Played]) -> None:
    for bug in ("", "watch-no-snapshot"):
        run = played("replica-kill", bug)
        view = RunView(run.directory)
        text = report.render(view, run.verdict)
        assert str(run.verdict.status) in text
        assert all(finding.objective in text for finding in run.verdict.findings)


@EACH
def test_it_can_be_drawn_of_a_run_that_hardly_began(report: Any, played: Callable[..., Played], tmp_path: Any) -> None:
    lines = (played("replica-kill").directory / "events.jsonl").read_bytes().splitlines(keepends=True)
    for count in (1, 2, 8, 12, len(lines) - 3):
        (tmp_path / "events.jsonl").write_bytes(b"".join(lines[:count]))
        view = RunView(tmp_path)
        assert "INCONCLUSIVE" in report.render(view, judge_view(view))
