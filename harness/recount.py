"""Opens - closes = live: the check of the session ledger by itself, made again by whoever reads it."""

from __future__ import annotations

from typing import Any


class Recount:
    """Opens, drops and stops as the rows have them, held against what the meter counted."""

    def __init__(self) -> None:
        self.opens = self.drops = self.stops = 0
        self._open: set[str] = set()
        self._first: set[str] = set()

    def turn(self, name: str, what: str) -> None:
        """Take one row of a session."""
        if what == "open":
            self.opens += 1
            self._open.add(name)
        elif what == "first":
            self._first.add(name)
        elif what in {"drop", "stop"}:
            self.drops += what == "drop"
            self.stops += what == "stop"
            self._open.discard(name)
            self._first.discard(name)

    def against(self, row: dict[str, Any]) -> str | None:
        """Say what does not agree."""
        ours = {
            "opens": self.opens,
            "drops": self.drops,
            "stops": self.stops,
            "open": self.opens - self.drops - self.stops,
            "first": len(self._first),
        }
        for name, count in ours.items():
            if row.get(name) != count:
                return f"the meter counted {row.get(name)} {name}, its rows say {count}"
        if len(self._open) != ours["open"]:
            return f"{ours['open']} are open by the count of rows, {len(self._open)} by their names"
        return None
