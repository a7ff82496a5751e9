"""Receipts: from what a fault declares (`shows`, as stored in the log) to the folds that prove and heal it. Pure.

The runner waits for these folds and the judge feeds them again, so both mean the same by *proven* and *healed*.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness.folds import NEVER, Healed, Latch, Proof
from harness.records import Outcome

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_GOOD = frozenset({int(Outcome.OK)})

Lanes = dict[tuple[str, str], int]
"""Lane id by (target, kind)."""


def proof_of(
    shows: Mapping[str, Any], lanes: Lanes, targets: Sequence[str], controls: Sequence[str], since: int
) -> Proof:
    """Every target's lane of the declared kind shows the effect, a control's does not.

    Controls are the same kind of lane of the `controls`, and the lane `beside` it of the targets themselves. Targets
    without such a lane are left out: a proof without any target lane is none.
    """
    least = int(shows.get("least_ms", 0) * 1e6)
    kind, need = shows.get("lane", "fresh"), shows["need"]
    outcomes = frozenset(shows["outcomes"])
    beside = [(name, shows["beside"]) for name in targets if shows.get("beside")]
    return Proof(
        [Latch(lanes[name, kind], outcomes, need, since, least) for name in targets if (name, kind) in lanes],
        [
            Latch(lanes[key], _GOOD, need, since, below_ns=least or NEVER)
            for key in [*((name, kind) for name in controls), *beside]
            if key in lanes
        ],
    )


def healed_of(shows: Mapping[str, Any], lanes: Lanes, targets: Sequence[str], since: int) -> Healed:
    """Every target's lane is good again, and as quick as before where the fault was a delay."""
    least, kind = int(shows.get("least_ms", 0) * 1e6), shows.get("lane", "fresh")
    return Healed(
        [
            Latch(lanes[name, kind], _GOOD, shows["healed"], since, below_ns=least or NEVER)
            for name in targets
            if (name, kind) in lanes
        ]
    )
