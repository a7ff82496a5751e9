"""A meter that is stopped for half a second, again and again, beside a service that is well and one that is not."""

from __future__ import annotations

import signal
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import metro_rig as rig

from harness.series import Interval

if TYPE_CHECKING:
    from pathlib import Path

    from harness.timeline import RunView

STALL_S = 0.5
WELL, ILL = 0, 1
"""Lanes: a service that is always well, and one that always says 503."""


@dataclass(frozen=True)
class Stalled:
    """What the judge sees, and from when to when the meter was surely stopped."""

    view: RunView
    stops: list[Interval]

    def flagged(self) -> int:
        """Stops that a stall of the record covers for nine tenths or more."""
        return sum(
            any(min(s.hi, stop.hi) - max(s.lo, stop.lo) >= 0.9 * (stop.hi - stop.lo) for s in self.view.stalls)
            for stop in self.stops
        )


def run(folder: Path, times: int) -> Stalled:
    """Stop it so often, every 0.9 s."""
    ports = [{}, {"program": [{"at_ms": 0, "for_ms": 600_000, "kind": "error"}]}]
    stops = []
    with rig.simulator(ports) as (service, numbers):
        service.tell({"go": rig.monotonic_ns()})
        lanes = [rig.lane(n, port, rate_hz=50) for n, port in enumerate(numbers)]
        with rig.meter(folder, lanes, deadline_ms=500) as metering:
            for _ in range(times):
                time.sleep(0.4)
                metering.process.send_signal(signal.SIGSTOP)
                began = rig.monotonic_ns()
                time.sleep(STALL_S)
                stops.append(Interval(began, rig.monotonic_ns()))
                metering.process.send_signal(signal.SIGCONT)
            time.sleep(0.4)
            metering.stop()
        service.stop()
    return Stalled(rig.view(folder), stops)
