"""What the files of any backend's meter must hold."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from harness.ledger import SESSIONS, read_rows
from harness.populations import read_sessions
from harness.records import LOAD, SLOT, UNDECIDED, Outcome, read_slots, torn_bytes
from harness.timeline import METER, SLOTS

if TYPE_CHECKING:
    from pathlib import Path

    from harness.stack import MeterPlan, Stack

SECOND = 1_000_000_000


def enough(directory: Path, files: list[str]) -> bool:
    return all((directory / f).is_file() and (directory / f).stat().st_size > 40 * LOAD.size for f in files)


def check_records(directory: Path, plan: MeterPlan, stack: Stack) -> None:
    assert torn_bytes(directory / SLOTS, SLOT) == 0
    slots = list(read_slots(directory / SLOTS))
    ports = {stack.address(f"coder-{n}").port for n in (1, 2, 3)}
    for lane in plan.lanes:
        own = sorted((s for s in slots if s.lane == lane.id), key=lambda s: s.slot)
        assert [s.slot for s in own] == list(range(len(own))), "every due slot has one record"
        gaps = {b.intended - a.intended for a, b in pairwise(own)}
        assert all(abs(gap - SECOND / lane.rate_hz) <= 2 for gap in gaps), "an open loop is due on time, always"
        decided = [s for s in own if s.outcome not in UNDECIDED]
        assert decided
        assert sum(s.outcome == Outcome.OK for s in decided) >= 0.9 * len(decided)
        for s in decided:
            assert s.intended <= s.sent <= s.done
            assert s.upstream in ports if lane.role == "balancer" and s.outcome == Outcome.OK else s.upstream == 0
    ledger = read_sessions(directory / SESSIONS)
    assert ledger.checkpoints
    assert ledger.disagreement is None
    rows = [row for row in read_rows(directory / SESSIONS) if row["ev"] != "checkpoint"]
    assert {row["session"] for row in rows} == {w.id for w in plan.watchers}
    for watcher in plan.watchers:
        turns = [row["ev"] for row in rows if row["session"] == watcher.id]
        assert turns[:3] == ["dial", "open", "first"]
        assert turns[-1] == "stop"
    checks = list(read_rows(directory / METER))
    assert "start" in checks[0]
    *seconds, last = [row for row in checks[1:] if "stall" not in row]
    assert all({"t_ns", "lateness_p99_ms", "sent", "unknown"} <= set(row) for row in seconds)
    assert set(last) == {"tally"}
