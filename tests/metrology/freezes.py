"""A service of 50 ms at 100 requests/s whose process is stopped for 1 s: who reports which quantiles?"""

from __future__ import annotations

import signal
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import metro_rig as rig
from frozen import truth

from harness.loadlog import requests
from harness.series import Interval, quantile

if TYPE_CHECKING:
    from pathlib import Path

SERVICE_MS = 50
FREEZE_S = 1.0
RATE_HZ = 100.0


def freeze(service: rig.Child) -> Interval:
    """Stop the service for a second; returns from when to when, known to far less than a millisecond."""
    service.process.send_signal(signal.SIGSTOP)
    began = rig.monotonic_ns()
    time.sleep(FREEZE_S)
    service.process.send_signal(signal.SIGCONT)
    return Interval(began, rig.monotonic_ns())


@dataclass(frozen=True)
class Frozen:
    """Latencies from the due moments, sorted, in ns, the due moments, and when the service stood still."""

    folder: Path
    due: list[int]
    latencies: list[int]
    frozen: Interval
    told: dict[str, Any]
    """What the simulator said at its end."""

    def measured_ms(self, q: float) -> float:
        return quantile(self.latencies, q) / rig.MS

    def true_ms(self, q: float) -> float:
        return truth(self.due, self.frozen, SERVICE_MS * rig.MS, q) / rig.MS


def of_load(folder: Path, before_s: float, after_s: float) -> Frozen:
    """Our open-loop Locust users. The service hangs again when they are told to stop."""
    with rig.simulator([{"service_ms": SERVICE_MS, "program": [{"at_ms": 0, "for_ms": 60_000, "kind": "freeze"}]}]) as (
        service,
        [port],
    ):
        with rig.arrivals(folder, port, int(RATE_HZ)) as records:
            time.sleep(1.1)  # users come within a second; from then on the rate is steady
            began = rig.monotonic_ns()
            time.sleep(before_s)
            frozen = freeze(service)
            time.sleep(after_s)
            ended = rig.monotonic_ns()
            time.sleep(0.1)
            service.tell({"go": rig.monotonic_ns()})
            time.sleep(0.5)
        told = service.stop()
    rows = [row for row in requests(records) if began <= row.intended < ended]
    latencies = sorted(row.end - row.intended for row in rows)
    return Frozen(folder, [row.intended for row in rows], latencies, frozen, told)


def of_meter(folder: Path, before_s: float, after_s: float) -> Frozen:
    """The meter, one fresh lane, with a deadline that the freeze does not reach. Lane 1 hangs when the meter stops."""
    hang = {"program": [{"at_ms": 1000 * (before_s + FREEZE_S + after_s) - 300, "for_ms": 60_000, "kind": "freeze"}]}
    with rig.simulator([{"service_ms": SERVICE_MS}, hang]) as (service, ports):
        lanes = [rig.lane(n, port, rate_hz=RATE_HZ) for n, port in enumerate(ports)]
        with rig.meter(folder, lanes, deadline_ms=2000) as metering:
            service.tell({"go": rig.monotonic_ns()})
            time.sleep(before_s)
            frozen = freeze(service)
            time.sleep(after_s)
            metering.stop()
        told = service.stop()
    series = rig.view(folder).series()[0]
    return Frozen(folder, list(series.intended), series.all_latencies(Interval(0, 2**62)), frozen, told)
