"""What was due, what the meter counted and what its file holds are the same, or the run proves nothing."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from harness.gates import gates_of
from harness.judge import judge
from harness.records import SLOT, read_slots
from harness.timeline import METER, SLOTS, RunView
from harness.verdict import Status

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def records(directory: Path) -> str | None:
    """What the gate complains of; None when it holds."""
    (gate,) = [gate for gate in gates_of(RunView(directory)) if gate.name == "records"]
    return None if gate.ok else gate.said


@pytest.fixture
def counted(passed: Path, resealed: Callable[[Path], None]) -> Path:
    """The run that passed, by a meter that counts."""
    found = Counter((slot.lane, slot.outcome) for slot in read_slots(passed / SLOTS))
    tally = {str(lane): [found[lane, outcome] for outcome in range(16)] for lane, _ in found}
    rows = [json.loads(line) for line in (passed / METER).read_text().splitlines()]
    rows[0]["start"]["counted"] = True
    rewrite(passed, [*rows, {"tally": tally}])
    resealed(passed)
    return passed


def rewrite(directory: Path, rows: list[dict[str, Any]]) -> None:
    (directory / METER).write_text("".join(json.dumps(row) + "\n" for row in rows))


def rows_of(directory: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (directory / METER).read_text().splitlines()]


def test_all_three_agree(counted: Path) -> None:
    assert records(counted) is None
    assert judge(counted).status is Status.PASS


def test_a_meter_of_a_time_before_it_counted_is_not_asked(passed: Path) -> None:
    assert "records" not in {gate.name for gate in gates_of(RunView(passed))}


def test_a_record_that_was_lost(counted: Path, resealed: Callable[[Path], None]) -> None:
    data = (counted / SLOTS).read_bytes()
    (counted / SLOTS).write_bytes(data[: -SLOT.size])
    resealed(counted)
    assert "the meter counted" in str(records(counted))
    assert judge(counted).status is Status.INCONCLUSIVE


def test_a_record_of_another_outcome(counted: Path) -> None:
    slots = list(read_slots(counted / SLOTS))
    bad = next(i for i, slot in enumerate(slots) if slot.outcome)
    slots[bad] = slots[bad]._replace(outcome=0)
    (counted / SLOTS).write_bytes(b"".join(SLOT.pack(*slot) for slot in slots))
    assert "the meter counted" in str(records(counted))


def test_slots_that_were_due_and_never_counted(counted: Path) -> None:
    rows = rows_of(counted)
    due = sum(row["sent"] for row in rows if "sent" in row)
    next(row for row in rows if row.get("sent"))["sent"] += 3
    rewrite(counted, rows)
    assert records(counted) == f"{due + 3} slots were due, {due} are recorded"


def test_a_count_that_is_missing(counted: Path) -> None:
    rewrite(counted, rows_of(counted)[:-1])
    assert records(counted) == "the meter left no count of its records"
