"""Validity gates: without every one of them a run proves nothing, whatever its objectives say. Pure.

A gate with `meter` set says that our own side was unfit: that is never the deployment's failure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness import events as ev
from harness.fitness import fitness
from harness.receipts import proof_of
from harness.timeline import records_of
from harness.verdict import Gate

if TYPE_CHECKING:
    from harness.timeline import FaultView, RunView


def gates_of(run: RunView) -> list[Gate]:
    """Every gate, the one that explains most first: harness, evidence, baseline, faults, load, meter."""
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
    return gates + fitness(run)


def _proven(run: RunView, fault: FaultView) -> Gate:  # noqa: PLR0911 - one return per stage reads best
    name = f"{fault.prepared.fault} {fault.prepared.name} on {', '.join(fault.prepared.targets)}"
    if fault.injected is None:
        return Gate(name, ok=False, said="prepared, never injected")
    refused = fault.unproven is not None and fault.unproven.delivered
    if fault.unproven and not refused:
        return Gate(name, ok=False, said=f"not proven: {fault.unproven.seen}")
    if fault.proven is None and not refused:
        return Gate(name, ok=False, said="not proven: the run ended first")
    receipt = _receipt(run, fault, refused=refused)
    if receipt is not None:
        return Gate(name, ok=False, said=f"not proven by the records: {receipt}")
    if fault.undone is None:
        return Gate(name, ok=False, said="never undone")
    if fault.healed is None:
        seen = fault.unhealed.seen if fault.unhealed else "the run ended first"
        again = fault.unhealed is not None and _started_again(run, fault)
        return Gate(name, ok=False, said=f"not healed{', though started again' * again}: {seen}", delivered=again)
    if refused and fault.unproven:
        said = f"not proven: delivered, but its target did not do it: {fault.unproven.seen}"
        return Gate(name, ok=False, said=said, delivered=True)
    return Gate(name, ok=True, said="proven on the path, undone, proven healed")


def _started_again(run: RunView, fault: FaultView) -> bool:
    """Whether a new process of every target is known since the undo, from whoever starts processes.

    Then we did our part, and that it serves nobody is its own: no credit for what is kept, but what is broken counts.
    """
    if fault.undone is None:
        return False
    made = {e.name for e in run.all(ev.ResourceCreated) if e.t_ns >= fault.undone.before_ns}
    return made.issuperset(fault.prepared.targets)


def _receipt(run: RunView, fault: FaultView, *, refused: bool) -> str | None:
    """Re-derive the proof from the records; None when it holds. Of what was `refused`, only the controls can."""
    shows, onset = fault.prepared.shows, fault.onset
    if onset is None:
        return "no onset"
    end = fault.undone.before_ns if fault.undone else run.end_ns
    lanes = {(lane.target, lane.kind): lane.id for lane in run.lanes.values()}
    said = fault.prepared
    proof = proof_of(shows, lanes, said.targets, said.controls, onset.lo, said.floors, said.fronts)
    for latch in (*proof.targets, *proof.controls):
        for record in records_of(run.lane(latch.lane)):
            if onset.lo <= record.intended < end:
                latch.feed(record)
    if not proof.targets:
        return "no probe lane watches the target"
    return None if proof.done or (refused and proof.apart) else proof.seen
