"""Makes a large run directory out of a real one: the same events, the same story, a million slots."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

from harness.evidence import write_manifest
from harness.records import SLOT, Outcome

if TYPE_CHECKING:
    from pathlib import Path


def enlarge(source: Path, to: Path, records: int) -> Path:
    """Copy `source` to `to` with every lane's rate raised so that the file holds about `records` slots."""
    shutil.copytree(source, to)
    lines = [json.loads(line) for line in (to / "events.jsonl").read_text().splitlines()]
    first = next(e["t_ns"] for e in lines if e["kind"] == "phase")
    last = lines[-1]["t_ns"]
    meter = next(e for e in lines if e["kind"] == "meter.started")
    total = sum(lane["rate_hz"] for lane in meter["lanes"])
    factor = records / (total * (last - first) / 1e9)
    onset = next(e["before_ns"] for e in lines if e["kind"] == "fault.injected")
    undone = next(e["before_ns"] for e in lines if e["kind"] == "fault.undone")
    victims = next(e["targets"] for e in lines if e["kind"] == "fault.prepared")
    with (to / "slots.bin").open("wb") as file:
        for lane in meter["lanes"]:
            lane["rate_hz"] *= factor
            step = 1e9 / lane["rate_hz"]
            for slot in range(int((last - first) / step)):
                due = first + int(slot * step)
                dead = lane["target"] in victims and onset <= due < undone
                outcome = Outcome.REFUSED if dead else Outcome.OK
                file.write(SLOT.pack(lane["id"], outcome, 0, 200, 0, slot, due, due, due, due, due + 2_000_000))
    (to / "events.jsonl").write_text("".join(json.dumps(e, separators=(",", ":")) + "\n" for e in lines))
    write_manifest(to)
    return to
