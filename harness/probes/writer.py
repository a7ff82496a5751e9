"""The meter's four files and its live line. Nothing is written from the event loop's thread.

A disk that pauses would otherwise be a pause of the meter, and so of every latency it reports.
"""

from __future__ import annotations

import json
import os
import select
from typing import TYPE_CHECKING, Final

from harness.probes.plan_keys import PlanError
from harness.records import SLOT

if TYPE_CHECKING:
    from pathlib import Path

    from harness.probes.exchange import Exchange

SLOTS: Final = "slots.bin"
LATE: Final = "late.bin"
SESSIONS: Final = "sessions.jsonl"
CHECKS: Final = "meter.jsonl"

_STDOUT: Final = 1


Batch = tuple[tuple[str, bytes], ...]
"""Bytes that go to the files together: (file name, data)."""


class WriteError(OSError):
    """A file could not be written. The text names it."""


class Output:
    """Collects records in the loop (`slot`, `session`, `check`, `take`) and writes batches elsewhere (`write`)."""

    def __init__(self, folder: Path) -> None:
        self._pending = {SLOTS: bytearray(), LATE: bytearray(), SESSIONS: bytearray(), CHECKS: bytearray()}
        self._files: dict[str, int] = {}
        self._folder = folder

    def open(self) -> None:
        """Create the files. Raises PlanError when one cannot be: an existing record is evidence, never overwritten."""
        try:
            for name in self._pending:
                path = self._folder / name
                self._files[name] = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o644)
        except OSError as exc:
            for name in self._files:
                (self._folder / name).unlink()
            raise PlanError(f"plan: dir cannot take {exc.filename}: {exc.strerror}") from None

    def slot(self, exchange: Exchange) -> None:
        """Add one slot that is over."""
        self._pending[SLOTS] += packed(exchange)

    def late(self, exchange: Exchange) -> None:
        """Add the real end of a slot that was over at its deadline."""
        self._pending[LATE] += packed(exchange)

    def session(self, row: dict[str, object]) -> None:
        """Add one row of the session ledger."""
        self._pending[SESSIONS] += _line(row)

    def check(self, row: dict[str, object]) -> None:
        """Add one row of the self-check."""
        self._pending[CHECKS] += _line(row)

    def take(self) -> Batch:
        """Hand over all that was added since the last call."""
        parts = tuple((name, bytes(data)) for name, data in self._pending.items() if data)
        for data in self._pending.values():
            data.clear()
        return parts

    def write(self, batch: Batch) -> None:
        """Write a batch to the files. Blocks. Raises WriteError, after which a record may be torn."""
        for name, data in batch:
            try:
                rest = memoryview(data)
                while rest:
                    rest = rest[os.write(self._files[name], rest) :]
            except OSError as exc:
                raise WriteError(exc.errno, f"cannot write {name}: {exc.strerror}") from None


def packed(exchange: Exchange) -> bytes:
    """Write an exchange that is over as a SLOT record."""
    return SLOT.pack(
        exchange.lane.id,
        exchange.outcome or 0,
        exchange.flags,
        exchange.status,
        exchange.upstream,
        exchange.slot,
        exchange.intended,
        exchange.sent,
        exchange.connected,
        exchange.first,
        exchange.done,
    )


def say(row: dict[str, object]) -> None:
    """Print one live line, or none if nobody reads: the next one says more, and evidence never waits for a reader.

    Raises WriteError, for example when stdout is a file on a full disk.
    """
    if select.select([], [_STDOUT], [], 0)[1]:
        rest = memoryview(_line(row))
        try:
            while rest:
                rest = rest[os.write(_STDOUT, rest) :]
        except BrokenPipeError:
            return  # our reader is gone; the end of our input will tell us so
        except OSError as exc:
            raise WriteError(exc.errno, f"cannot write to stdout: {exc.strerror}") from None


def _line(row: dict[str, object]) -> bytes:
    return json.dumps(row, separators=(",", ":")).encode() + b"\n"
