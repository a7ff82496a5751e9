"""The session ledger: one row per turn in the life of a long-lived connection, and how many are open now.

```
dial ──> refused ──> dial ...
  └────> open ──> first ──> event | error ... ──> drop ──> dial ...
            └──────────────────────────────────────┴─────> stop
```
At every moment opens - drops - stops = open; `live` are those of them that had their first message.
"""

from __future__ import annotations

from time import monotonic_ns
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.probes.writer import Output


class Ledger:
    """Writes rows and keeps the two counts in step with them."""

    def __init__(self, output: Output) -> None:
        self.rows = 0
        self.open = 0
        """Sessions open now."""
        self._first: set[str] = set()
        self._output = output

    @property
    def live(self) -> int:
        """Sessions open now that had their first message."""
        return len(self._first)

    def row(self, session: str, policy: str, ev: str, **more: object) -> None:
        """Add a row, stamped now. `ev` and its fields are those of the drawing above."""
        if ev == "open":
            self.open += 1
        elif ev == "first":
            self._first.add(session)
        elif ev in {"drop", "stop"}:
            self.open -= 1
            self._first.discard(session)
        self.rows += 1
        self._output.session({"t_ns": monotonic_ns(), "session": session, "policy": policy, "ev": ev, **more})
