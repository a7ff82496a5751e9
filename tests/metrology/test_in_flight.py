"""Nothing that was asked goes missing: neither what dies in flight, nor what hangs when the meter stops."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import metro_rig as rig
import pytest
from together import KILLS, Together

from harness.loadlog import totals
from harness.records import REDIALLED, Outcome, read_slots
from harness.timeline import SLOTS

if TYPE_CHECKING:
    from freezes import Frozen

    from harness.records import Slot
    from harness.timeline import RunView


def slots(run: RunView, lane: int) -> list[Slot]:
    found = (slot for slot in read_slots(run.directory / SLOTS) if slot.lane == lane)
    return sorted(found, key=lambda slot: slot.slot)


def test_no_request_that_dies_in_flight_is_hidden(together: Together) -> None:
    """Others send a lost GET again unseen (bench/freeze.py has the table)."""
    killed = together.told["ports"][Together.KILLING]["killed"]
    found = slots(together.view, Together.KILLING)
    lost = [slot for slot in found if slot.outcome in (Outcome.CLOSED, Outcome.RESET)]
    assert killed >= KILLS
    assert len(lost) == killed
    assert {Outcome(slot.outcome) for slot in found} <= {Outcome.OK, Outcome.CLOSED, Outcome.RESET, Outcome.UNKNOWN}
    assert sum(slot.flags & REDIALLED for slot in found) in (killed, killed - 1), "and every one costs a dial"


def accounted(found: list[Slot], told: dict[str, Any], lane: int) -> set[Outcome]:
    """Every due slot has one record, and every request that reached the service is one of them. Ends of those it hung."""
    assert [slot.slot for slot in found] == list(range(len(found)))
    assert sum(bool(slot.connected) for slot in found) == told["ports"][lane]["asked"]
    assert sum(slot.outcome == Outcome.OK for slot in found) == told["ports"][lane]["answered"]
    [act] = [act for act in told["acts"] if act["port"] == lane]
    return {Outcome(slot.outcome) for slot in found if slot.sent > act["down"][1]}


@pytest.mark.parametrize("lane", Together.HANGING)
def test_what_hangs_when_the_meter_stops_ends_by_its_deadline(together: Together, lane: int) -> None:
    found = slots(together.view, lane)
    assert together.stopped_ns < found[-1].intended + 40_000_000, "no slot is missing before the stop"
    assert accounted(found, together.told, lane) == {Outcome.READ_TIMEOUT}


def test_what_hangs_when_the_load_stops_has_begun_and_not_ended(loaded: Frozen) -> None:
    """Stopped with 3 s of patience. Nothing is missing: asked = ended + censored."""
    counted = totals([loaded.folder / "load-0.bin"])
    [port] = loaded.told["ports"]
    assert counted.censored > 30
    assert counted.started == port["asked"]
    assert counted.outcomes[Outcome.OK] == port["answered"]
    assert counted.dropped == counted.torn == 0


def test_what_hangs_longer_than_the_meter_waits_is_unknown(metered: Frozen) -> None:
    """With a deadline of 2 s: the meter gives it 1.5 s and says that nobody knows."""
    assert accounted(slots(rig.view(metered.folder), 1), metered.told, 1) == {Outcome.UNKNOWN}
