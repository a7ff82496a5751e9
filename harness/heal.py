"""heal: undo the faults of a run from its own journal, when neither the run nor its keeper did."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness import events as ev
from harness.errors import UsageError
from harness.eventlog import FILE, read_events
from harness.safety import proc, undo

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

OK, DIRTY = 0, 6


def heal(directory: Path, say: Callable[[str], None]) -> int:
    """Run every undo step of faults that were prepared and not undone; return the exit code (0, or 6).

    Raises UsageError for a run of another boot: its process numbers mean nothing now, and the machine's restart ended
    its processes.
    """
    file = read_events(directory)
    header = next((e for e in file.events if isinstance(e, ev.Header)), None)
    if header is None:
        raise UsageError(f"{directory}: its event log has no header; there is no journal to heal from")
    if header.boot_id != proc.boot_id():
        raise UsageError(
            f"{directory}: this run belongs to another boot of this machine (or another machine); nothing of it runs here"
        )
    if header.harness and proc.state(proc.ProcessRef.parse(header.harness)) != "gone":
        raise UsageError(
            f"{directory}: this run is still going (process {header.harness}) and undoes its faults itself; stop it with Ctrl-C"
        )
    done = {e.fault for e in file.events if isinstance(e, ev.FaultUndone) and all(o["ok"] for o in e.outcomes)}
    todo = [e for e in file.events if isinstance(e, ev.FaultPrepared) and e.fault not in done]
    if not todo:
        say("heal: every fault of this run was undone; nothing to do")
        return OK
    bad = 0
    for entry in reversed(todo):
        steps = [undo.Step.from_json(step) for step in entry.undo]
        for outcome in undo.run(list(reversed(steps)), None):
            bad += not outcome.ok
            say(
                f"heal: {entry.fault} {entry.name} on {', '.join(entry.targets)}: {'ok' if outcome.ok else 'FAILED'}: {outcome.said}"
            )
    if bad:
        say(f"heal: {bad} steps failed; the run directory names the targets: {directory / FILE}")
    return DIRTY if bad else OK
