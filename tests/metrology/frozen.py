"""A service that takes its time and is frozen once: how long every request of an open loop must take.

As a stopped process has it: an answer that would come in the freeze comes at its end; a request that arrives in it is
taken up at its end. Times in ns.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.series import Interval, quantile

if TYPE_CHECKING:
    from collections.abc import Sequence


def latency(due: int, frozen: Interval, service: int) -> int:
    """From the due moment of a request to its answer, by a client and a network that take no time."""
    if due + service <= frozen.lo or due >= frozen.hi:
        return service
    return max(frozen.hi, due + service) - due if due < frozen.lo else frozen.hi + service - due


def truth(due: Sequence[int], frozen: Interval, service: int, q: float) -> int:
    """Quantile of the latencies of requests that are due at those moments."""
    return quantile(sorted(latency(moment, frozen, service) for moment in due), q)


def by_phase(count: int, rate_hz: float, frozen_ns: int, service: int, q: float) -> Interval:
    """Smallest and largest quantile over every phase of the schedule against a freeze in its middle."""
    step = int(1e9 / rate_hz)
    begin = count // 2 * step
    values = [
        truth([n * step + phase for n in range(count)], Interval(begin, begin + frozen_ns), service, q)
        for phase in range(0, step, step // 50)
    ]
    return Interval(min(values), max(values))


def off_by(measured: int, true: int) -> float:
    """Relative error, signed."""
    return measured / true - 1
