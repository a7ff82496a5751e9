"""The session ledger: one row per turn in the life of a long-lived connection, and once a second a count to check by.

```
dial ──> refused ──> dial ...  | gaveup
  └────> open ──> first ──> event | error ... ──> drop ──> dial ... | gaveup
            └──────────────────────────────────────┴─────> stop
```
Every row has `t_ns, session, policy, kind, ev`. `dial` has its attempt, `refused` why, `open` the replica (`upstream`,
a port), `drop` its cause (close, reset, eof, tls, silent, flood), code, initiator, the replica, and `last_ns`: when
something good was last heard. An echo session's drop and stop carry its counts. `gaveup` says why there is no return.

A `checkpoint` has no session: opens, drops and stops as written so far, and `open` and `first` counted from the living
sessions themselves. So opens - drops - stops = open is a check that can fail.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.probes.writer import Output


class Ledger:
    """Writes rows and keeps the counts in step with them."""

    def __init__(self, output: Output) -> None:
        self.rows = 0
        self.opens = 0
        self.drops = 0
        self.stops = 0
        self.live = 0
        """Sessions open now that had their first message."""
        self._output = output

    @property
    def open(self) -> int:
        """Sessions open now, as the rows have it."""
        return self.opens - self.drops - self.stops

    def row(self, at: int, ev: str, more: dict[str, object], *, session: str, policy: str, kind: str) -> None:
        """Add a row of a session, of the moment `at` (monotonic ns)."""
        self.rows += 1
        self._output.session({"t_ns": at, "session": session, "policy": policy, "kind": kind, "ev": ev, **more})

    def checkpoint(self, at: int, *, opened: int, first: int) -> None:
        """Add a checkpoint: sessions that are open, and those of them that had a first message, as counted just now."""
        self.rows += 1
        counts = {"opens": self.opens, "drops": self.drops, "stops": self.stops, "open": opened, "first": first}
        self._output.session({"t_ns": at, "ev": "checkpoint", **counts})
