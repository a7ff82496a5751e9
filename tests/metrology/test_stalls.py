"""What the meter did to itself is never said of the service."""

from __future__ import annotations

import os
import subprocess
import sys
from itertools import pairwise
from typing import TYPE_CHECKING

import metro_rig as rig
import stalled

from harness.ledger import read_rows
from harness.records import Outcome
from harness.series import SECOND, Interval
from harness.timeline import METER

if TYPE_CHECKING:
    from pathlib import Path

ALWAYS = Interval(0, 2**62)


def test_every_stall_is_flagged(stopped: stalled.Stalled) -> None:
    assert stopped.flagged() == len(stopped.stops) == 3
    told = sum(stall.hi - stall.lo for stall in stopped.view.stalls)
    assert told <= 1.3 * len(stopped.stops) * stalled.STALL_S * SECOND, "and hardly more than that"


def test_a_service_that_is_well_is_never_bad_because_we_stood_still(stopped: stalled.Stalled) -> None:
    well = stopped.view.series()[stalled.WELL]
    bad, unknown, due = well.count_bad(Interval(well.intended[0], well.intended[-1]))
    assert bad == 0
    assert 0 < unknown < due / 2
    assert list(well.outages(ALWAYS)) == []
    assert max(well.latency) > 200_000_000, "answers that were read late"
    assert well.good_latencies(ALWAYS)[-1] < 100_000_000, "are no latency of the service"


def test_bad_slots_in_a_stall_are_unknown_and_the_others_are_not(stopped: stalled.Stalled) -> None:
    ill = stopped.view.series()[stalled.ILL]
    inside = [i for stop in stopped.stops for i in ill.range(stop)]
    outside = [
        i for a, b in pairwise(stopped.stops) for i in ill.range(Interval(a.hi + SECOND // 5, b.lo - SECOND // 10))
    ]
    assert len(inside) > 60
    assert {ill.outcome[i] for i in inside} == {Outcome.UNKNOWN}
    assert {ill.outcome[i] for i in outside} == {Outcome.SERVER_ERROR}


def test_the_meter_says_how_urgent_it_is(tmp_path: Path) -> None:
    """Real time where we may have it; a nice value alone does not help against other sessions."""
    with rig.simulator([{}]) as (service, [port]):
        with rig.meter(tmp_path / "run", [rig.lane(0, port)], deadline_ms=250) as metering:
            policy = os.sched_getscheduler(metering.process.pid)
            metering.stop()
        service.stop()
    start = next(read_rows(tmp_path / "run" / METER))["start"]
    ask = "import os; os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))"
    may = subprocess.run([sys.executable, "-c", ask], check=False, capture_output=True).returncode == 0
    assert (start["real_time"], policy == os.SCHED_RR) == (may, may)
