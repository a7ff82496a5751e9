"""Judging a run directory: validity gates (`harness.gates`), then the objectives stored in its header."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from harness import events as ev
from harness.gates import gates_of
from harness.known_issues import explained, register
from harness.objectives.base import from_json
from harness.timeline import RunView
from harness.verdict import Finding, Status, Verdict, decide

if TYPE_CHECKING:
    from pathlib import Path


def judge(directory: Path) -> Verdict:
    """Judge a saved run. Pure. Raises RunDirError when the directory cannot be read at all."""
    return judge_view(RunView(directory))


def judge_view(run: RunView) -> Verdict:
    """Judge a run that is loaded already."""
    gates = gates_of(run)
    findings = [_judged(run, spec) for spec in run.header.objectives] if run.fault else []
    aborted = run.last(ev.Aborted)
    return decide(gates, findings, f"by {aborted.by}: {aborted.why}" if aborted else None, _dirty(run))


def _judged(run: RunView, spec: dict[str, object]) -> Finding:
    objective = from_json(spec)
    try:
        finding = objective.judge(run)
    except (ValueError, LookupError, ArithmeticError) as error:
        # A judge that stumbles over odd data has no opinion; it must not turn into a pass or take the others down.
        return Finding(objective.name, Status.INCONCLUSIVE, f"could not be judged: {type(error).__name__}: {error}")
    if finding.status is not Status.FAIL:
        return finding
    version = run.stack.version if run.stack else ""
    return replace(finding, known=explained(register(), run.header.scenario, finding.objective, version))


def _dirty(run: RunView) -> str | None:
    for fault in run.faults:
        if fault.undone and (bad := [o for o in fault.undone.outcomes if not o["ok"]]):
            return f"{fault.prepared.fault} could not be undone: {bad[0]['said']}"
    return None
