"""Records that are lost on the way from the meter to the judge."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from harness.evidence import write_manifest
from harness.judge import judge
from harness.ledger import SESSIONS, read_rows
from harness.records import SLOT, Outcome, read_slots
from harness.selftest.mirrors.base import Lab, Seen, ended, mirror
from harness.timeline import METER, SLOTS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@mirror(caught_by="the gate on records (due = counted = recorded, by lane and outcome) and the session ledger's")
def worst_class_dropped(lab: Lab) -> Iterator[Seen]:
    """A class of bad answers never reaches the records; each in turn that the run has, counted by the meter or not."""
    healthy = lab.healthy
    found = sorted({slot.outcome for slot in read_slots(healthy.directory / SLOTS)} - {Outcome.OK})
    for outcome in found:
        word = Outcome(outcome).name.lower().replace("_", " ")
        for counted in (True, False):
            directory = lab.copy(healthy)
            _drop(directory, outcome, counted=counted)
            # Without refusals the receipt is the first to miss something, by the records as well.
            yield ended(f"{word}, {'counted' if counted else 'not counted'}", judge(directory), directory, "records: ")
    directory = lab.copy(healthy)
    _rewrite(directory / SESSIONS, lambda row: None if row.get("ev") == "drop" else row)
    write_manifest(directory)
    yield ended("drops of sessions", judge(directory), directory, "session ledger: ")


def _drop(directory: Path, outcome: int, *, counted: bool) -> None:
    """Leave a class out of the records, and out of the meter's own count too unless it `counted`; then seal again."""
    kept = [slot for slot in read_slots(directory / SLOTS) if slot.outcome != outcome]
    (directory / SLOTS).write_bytes(b"".join(SLOT.pack(*slot) for slot in kept))

    def uncounted(row: dict[str, Any]) -> dict[str, Any]:
        for counts in row.get("tally", {}).values():
            counts[outcome] = 0
        return row

    if not counted:
        _rewrite(directory / METER, uncounted)
    write_manifest(directory)


def _rewrite(path: Path, change: Any) -> None:
    rows = [changed for row in read_rows(path) if (changed := change(row)) is not None]
    path.write_text("".join(json.dumps(row, separators=(",", ":")) + "\n" for row in rows))
