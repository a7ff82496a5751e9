"""Receipts: from what a fault declares (`shows`, as stored in the log) to the folds that prove and heal it. Pure.

The runner waits for these folds and the judge feeds them again, so both mean the same by *proven* and *healed*.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness.folds import NEVER, Healed, Latch, Proof
from harness.records import Outcome
from harness.series import quantile

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_GOOD = frozenset({int(Outcome.OK)})
_NOBODY = frozenset({int(Outcome.SERVER_ERROR), int(Outcome.OTHER_STATUS)})
"""What a balancer says of itself when no replica is left. Its own status, so the way to it and our side are fine."""

Lanes = dict[tuple[str, str], int]
"""Lane id by (target, kind)."""


def floors_of(shows: Mapping[str, Any], before: Mapping[int, Sequence[int]]) -> dict[str, int]:
    """For a fault that delays: by lane id (as text), the latency in ns from which an answer is delayed.

    `before` are sorted latencies of every lane's good answers in the baseline. Nine of ten of them took longer than the
    lowest tenth, and a delayed one takes the dose on top. Empty for a fault that does not delay.
    """
    dose = int(shows.get("least_ms", 0) * 1e6)
    if not dose:
        return {}
    return {str(lane): quantile(values, 0.1) + dose for lane, values in before.items() if values}


def proof_of(  # noqa: PLR0917 - each is one fact about the fault
    shows: Mapping[str, Any],
    lanes: Lanes,
    targets: Sequence[str],
    controls: Sequence[str],
    since: int,
    floors: Mapping[str, int],
    fronts: Sequence[str] = (),
) -> Proof:
    """Every target's lane of the declared kind shows the effect, a control's does not.

    Controls are the same kind of lane of the `controls`, and the lane `beside` it of the targets themselves. In an outage
    there are none: then the `fronts` must answer, with an error of their own. Targets without such a lane are left out: a
    proof without any target lane is none. `floors` as of `floors_of`.
    """
    kind, need = shows.get("lane", "fresh"), shows["need"]
    outcomes = frozenset(shows["outcomes"])
    beside = [(name, shows["beside"]) for name in targets if shows.get("beside")]
    return Proof(
        [
            Latch(lane, outcomes, need, since, floors.get(str(lane), NEVER if shows.get("least_ms") else 0))
            for name in targets
            if (lane := lanes.get((name, kind))) is not None
        ],
        [
            Latch(lane, _GOOD, need, since, below_ns=floors.get(str(lane), NEVER))
            for key in [*((name, kind) for name in controls), *beside]
            if (lane := lanes.get(key)) is not None
        ]
        + [Latch(lane, _NOBODY, need, since) for name in fronts if (lane := lanes.get((name, "fresh"))) is not None],
    )


def healed_of(
    shows: Mapping[str, Any], lanes: Lanes, targets: Sequence[str], since: int, floors: Mapping[str, int]
) -> Healed:
    """Every target's lane is good again, and below its floor where the fault was a delay."""
    kind = shows.get("lane", "fresh")
    return Healed(
        [
            Latch(lane, _GOOD, shows["healed"], since, below_ns=floors.get(str(lane), NEVER))
            for name in targets
            if (lane := lanes.get((name, kind))) is not None
        ]
    )
