"""One line of a selftest, and what they all come to."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

STOPPED = 128
"""Exit codes above this are signals."""


@dataclass(frozen=True)
class Row:
    """What was played, how it was to end, how it ended. `seconds` is wall time, `directory` text or empty."""

    kind: str
    """bug, twin or mirror."""
    name: str
    scenario: str
    stack: str
    expected: str
    got: str
    first: str
    """The objective that broke first."""
    ok: bool
    said: str
    """What the run gave as its reason, or in what it is not as declared."""
    seconds: float
    directory: str
    code: int

    def to_json(self) -> dict[str, Any]:
        """Form for `-o json`."""
        return asdict(self)


def exit_code(rows: Sequence[Row]) -> int:
    """0 when all is as declared; 3 when nothing but INCONCLUSIVE runs of bugs and twins is not; a signal's; else 1."""
    stopped = [row.code for row in rows if row.code > STOPPED]
    if stopped:
        return stopped[0]
    wrong = [row for row in rows if not row.ok]
    if not wrong:
        return 0
    return 3 if all(row.got == "INCONCLUSIVE" and row.kind != "mirror" for row in wrong) else 1
