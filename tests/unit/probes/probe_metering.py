"""Runs real meter processes and reads what they leave behind."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from harness.populations import read_sessions
from harness.records import Outcome, Slot, read_slots

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

REPO = Path(__file__).parents[3]
PATIENCE_S = 15
METER = ("-m", "harness.probes.meter")


def lane(lane_id: int, port: int, mode: str = "fresh", **more: object) -> dict[str, object]:
    row = {"id": lane_id, "target": f"t{lane_id}", "host": "127.0.0.1", "port": port, "mode": mode}
    return {**row, "path": "/api/v2/buildinfo", "rate_hz": 20, **more}


def watcher(watcher_id: str, port: int, **more: object) -> dict[str, object]:
    return {"id": watcher_id, "host": "127.0.0.1", "port": port, "path": "/api/v2/workspaces/x/watch-ws", **more}


def plan(folder: Path, *, lanes: list = [], watchers: list = [], **more: object) -> dict[str, object]:  # noqa: B006
    return {"v": 1, "dir": str(folder), "deadline_ms": 1000, "lanes": lanes, "watchers": watchers, **more}


def until(condition: Callable[[], object]) -> None:
    give_up = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < give_up, "not reached in time"
        time.sleep(0.005)


class Run:
    """One meter process: `lines` grow as it speaks."""

    def __init__(
        self, plan_row: dict[str, object], *, prefix: tuple[str, ...] = (), command: tuple[str, ...] = METER
    ) -> None:
        self.folder = Path(str(plan_row["dir"]))
        self.lines: list[dict] = []
        self.process = subprocess.Popen(
            [*prefix, sys.executable, *command],
            cwd=REPO,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self.process.stdin.write(json.dumps(plan_row).encode() + b"\n")
        self.process.stdin.flush()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        for line in self.process.stdout:
            self.lines.append(json.loads(line))

    @property
    def live(self) -> list[dict]:
        return [line for line in self.lines if "ready" not in line]

    def until(self, condition: Callable[[], object]) -> None:
        def reached() -> object:
            assert self.process.poll() is None, f"the meter ended with {self.process.poll()}: {self.lines[-1:]}"
            return condition()

        until(reached)

    def until_slots(self, count: int) -> None:
        """Wait until every lane has `count` slots written."""
        self.until(lambda: self.live and all(sum(tally) >= count for tally in self.live[-1]["lanes"].values()))

    def until_rows(self, enough: Callable[[list[dict]], object]) -> None:
        self.until(lambda: enough(self.rows()))

    def stop(self) -> None:
        """End its input, expect a silent exit 0, and hold the live lines against the files."""
        self.process.stdin.close()
        errors = self.process.stderr.read()
        assert (self.process.wait(PATIENCE_S), errors) == (0, b"")
        self._reader.join()
        assert "ready" in self.lines[0]
        final = self.lines[-1]
        assert final["final"] is True
        assert final["slots"] == len(self.slots())
        assert (final["late"], final["following"]) == (len(self.late()), 0)
        assert final["rows"] == len(self.rows())
        assert (final["live"], final["open"]) == (0, 0)
        assert read_sessions(self.folder / "sessions.jsonl").disagreement is None
        self._assert_counts()
        for line in self.live:
            assert_live_matches(line, self.rows()[: line["rows"]])
            assert sum(sum(tally) for tally in line["lanes"].values()) == line["slots"]

    def _assert_counts(self) -> None:
        """Due by the schedule = counted by the meter = recorded, by lane and outcome."""
        checks = self.checks()
        (tally,) = [row["tally"] for row in checks if "tally" in row]
        counted = {(int(id_), outcome): n for id_, row in tally.items() for outcome, n in enumerate(row) if n}
        assert counted == Counter((slot.lane, slot.outcome) for slot in self.slots())
        assert sum(row["sent"] + row["unknown"] for row in checks if "sent" in row) == len(self.slots())

    def abolish(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self._reader.join()
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            with contextlib.suppress(BrokenPipeError):
                stream.close()

    def slots(self, lane_id: int | None = None, file: str = "slots.bin") -> list[Slot]:
        path = self.folder / file
        found = list(read_slots(path)) if path.exists() else []
        found = found if lane_id is None else [slot for slot in found if slot.lane == lane_id]
        return sorted(found, key=lambda slot: (slot.lane, slot.slot))

    def late(self, lane_id: int | None = None) -> list[Slot]:
        return self.slots(lane_id, "late.bin")

    def outcomes(self, lane_id: int) -> list[Outcome]:
        return [Outcome(slot.outcome) for slot in self.slots(lane_id)]

    def rows(self, session: str | None = None) -> list[dict]:
        rows = _whole_lines(self.folder / "sessions.jsonl")
        return rows if session is None else [row for row in rows if row.get("session") == session]

    def checks(self) -> list[dict]:
        return _whole_lines(self.folder / "meter.jsonl")


def assert_live_matches(line: dict, rows: list[dict]) -> None:
    """Opens - closes = open, and those of them with a first message = live, as the ledger has it so far."""
    opened: set[str] = set()
    first: set[str] = set()
    for row in rows:
        if row["ev"] == "open":
            assert row["session"] not in opened
            opened.add(row["session"])
        elif row["ev"] == "first":
            first.add(row["session"])
        elif row["ev"] in ("drop", "stop"):
            opened.remove(row["session"])
            first.discard(row["session"])
    assert (line["open"], line["live"]) == (len(opened), len(first))


def _whole_lines(path: Path) -> list[dict]:
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]


@contextlib.contextmanager
def metering(plan_row: dict[str, object], command: tuple[str, ...] = METER) -> Iterator[Run]:
    run = Run(plan_row, command=command)
    try:
        yield run
    finally:
        run.abolish()
