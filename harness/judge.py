"""Judging a run directory: validity gates, then the objectives stored in its header."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness import events as ev
from harness.folds import Latch, Proof
from harness.objectives.base import from_json
from harness.records import LOAD_START, Outcome, read_load
from harness.series import SECOND, Interval, quantile
from harness.timeline import RunView, records_of
from harness.verdict import Finding, Gate, Status, Verdict, decide

if TYPE_CHECKING:
    from pathlib import Path

    from harness.timeline import FaultView

LATENESS_P99_MS = 100
"""Above this the meter sends too late to date anything near the objectives' limits (seconds)."""
STALL_S = 0.5
UNKNOWN_SHARE = 0.02
LOAD_SHARE = 0.5
"""The load must reach this share of the rate it was asked for in the baseline; a stack at rest proves nothing."""


def judge(directory: Path) -> Verdict:
    """Judge a saved run. Pure. Raises RunDirError when the directory cannot be read at all."""
    return judge_view(RunView(directory))


def judge_view(run: RunView) -> Verdict:
    """Judge a run that is loaded already."""
    gates = list(_gates(run))
    findings = [_judged(run, spec) for spec in run.header.objectives] if run.fault else []
    aborted = run.last(ev.Aborted)
    return decide(gates, findings, f"by {aborted.by}: {aborted.why}" if aborted else None, _dirty(run))


def _judged(run: RunView, spec: dict[str, object]) -> Finding:
    objective = from_json(spec)
    try:
        return objective.judge(run)
    except (ValueError, LookupError, ArithmeticError) as error:
        # A judge that stumbles over odd data has no opinion; it must not turn into a pass or take the others down.
        return Finding(objective.name, Status.INCONCLUSIVE, f"could not be judged: {type(error).__name__}: {error}")


def _gates(run: RunView) -> list[Gate]:
    broken = run.last(ev.Broken)
    gates = [Gate("harness", broken is None, broken.why if broken else "ran to its end")]
    sealed = run.sealed
    gates.append(Gate("evidence", sealed is None, sealed or "sealed; every file matches its manifest"))
    bad = run.last(ev.BaselineBroken)
    ok = bad is None and run.phase("baseline") is not None
    gates.append(Gate("baseline", ok, bad.why if bad else "held" if ok else "never measured"))
    gates += [_proven(run, fault) for fault in run.faults]
    if not run.faults:
        gates.append(Gate("fault", ok=False, said="none was injected"))
    gates += [_load(run), *_meter(run)]
    return gates


def _proven(run: RunView, fault: FaultView) -> Gate:  # noqa: PLR0911 - one return per stage reads best
    name = f"{fault.prepared.fault} {fault.prepared.name} on {', '.join(fault.prepared.targets)}"
    if fault.injected is None:
        return Gate(name, ok=False, said="prepared, never injected")
    if fault.unproven:
        return Gate(name, ok=False, said=f"not proven: {fault.unproven.seen}")
    if fault.proven is None:
        return Gate(name, ok=False, said="not proven: the run ended first")
    receipt = _receipt(run, fault)
    if receipt is not None:
        return Gate(name, ok=False, said=f"not proven by the records: {receipt}")
    if fault.undone is None:
        return Gate(name, ok=False, said="never undone")
    if fault.healed is None:
        return Gate(
            name, ok=False, said=f"not healed: {fault.unhealed.seen if fault.unhealed else 'the run ended first'}"
        )
    return Gate(name, ok=True, said="proven on the path, undone, proven healed")


def _receipt(run: RunView, fault: FaultView) -> str | None:
    """Re-derive the proof from the records; None when it holds."""
    shows, onset = fault.prepared.shows, fault.onset
    if onset is None:
        return "no onset"
    end = fault.undone.before_ns if fault.undone else run.end_ns
    good = frozenset({int(Outcome.OK)})
    proof = Proof([], [])
    for role, names in (("targets", fault.prepared.targets), ("controls", fault.prepared.controls)):
        for name in names:
            for series in run.series(target=name, kinds=("fresh",)):
                outcomes = frozenset(shows["outcomes"]) if role == "targets" else good
                latch = Latch(series.lane.id, outcomes, shows["need"], onset.lo)
                (proof.targets if role == "targets" else proof.controls).append(latch)
                for record in records_of(series):
                    if onset.lo <= record.intended < end:
                        latch.feed(record)
    if not proof.targets:
        return "no probe lane watches the target"
    return None if proof.done else proof.seen


def _load(run: RunView) -> Gate:
    started, window = run.last(ev.LoadStarted), run.phase("baseline")
    if started is None or window is None:
        return Gate("load", ok=False, said="never ran")
    paths = [path for name in started.files if (path := run.directory / name).is_file()]
    count = sum(
        mark.kind == LOAD_START and window.lo <= mark.t < window.hi for path in paths for mark in read_load(path)
    )
    rate = count / max(1e-9, (window.hi - window.lo) / SECOND)
    said = f"{rate:.1f} requests/s in the baseline, asked for {started.rate:g}"
    return Gate("load", rate >= LOAD_SHARE * started.rate, said)


def _meter(run: RunView) -> list[Gate]:
    window = run.window
    if window is None:
        return []
    lateness: list[int] = []
    unknown = due = 0
    for series in run.series():
        _, missing, all_ = series.count_bad(window)
        unknown, due = unknown + missing, due + all_
        if series.lane.kind != "pinned":  # a pinned slot waits for its connection: that is the server's lateness
            lateness += [series.lateness[i] for i in series.range(window)]
    worst = max((stall.hi - stall.lo for stall in _within(run.stalls, window)), default=0) / SECOND
    p99 = quantile(sorted(lateness), 0.99) / 1e6 if lateness else 0.0
    share = unknown / due if due else 1.0
    return [
        Gate("meter lateness", p99 <= LATENESS_P99_MS, f"p99 {p99:.1f} ms, limit {LATENESS_P99_MS} ms", meter=True),
        Gate("meter stalls", worst < STALL_S, f"longest {worst:.2f} s, limit {STALL_S} s", meter=True),
        Gate(
            "meter slots",
            share <= UNKNOWN_SHARE,
            f"{unknown} of {due} due slots unknown, limit {UNKNOWN_SHARE:.0%}",
            meter=True,
        ),
    ]


def _within(stalls: list[Interval], window: Interval) -> list[Interval]:
    return [s for s in stalls if s.hi > window.lo and s.lo < window.hi]


def _dirty(run: RunView) -> str | None:
    for fault in run.faults:
        if fault.undone and (bad := [o for o in fault.undone.outcomes if not o["ok"]]):
            return f"{fault.prepared.fault} could not be undone: {bad[0]['said']}"
    return None
