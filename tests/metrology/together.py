"""One run of the real meter against services that misbehave side by side, each on a lane of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import metro_rig as rig

if TYPE_CHECKING:
    from pathlib import Path

    from harness.timeline import RunView

KILLS = 100
HANGS_AT_MS = 1500
FLAPS_UNTIL_MS = 1500
STABLE_MS = 2000


@dataclass(frozen=True)
class Together:
    """What the judge sees, what the simulator did, and when the meter was told to stop."""

    view: RunView
    told: dict[str, Any]
    stopped_ns: int

    FLAPPING: ClassVar = 3
    """The first lanes flap, fresh, at 100/s."""
    KILLING: ClassVar = 3
    """This one kills every second request of a connection, pinned."""
    HANGING: ClassVar = (4, 5)
    """These hang from `HANGS_AT_MS` to the end, fresh and pinned, at 50/s."""


def flaps(kind: str, good_ms: float, bad_ms: float) -> list[dict[str, Any]]:
    """Program of a port that flaps from 300 ms on."""
    program, at = [], 300.0
    while at < FLAPS_UNTIL_MS:
        program.append({"at_ms": at, "for_ms": bad_ms, "kind": kind})
        at += bad_ms + good_ms
    return program


def run(folder: Path) -> Together:
    """Play it, in about 4 s."""
    hang = {"program": [{"at_ms": HANGS_AT_MS, "for_ms": 60_000, "kind": "freeze"}]}
    ports = [
        {"program": flaps("error", good_ms=120, bad_ms=60)},
        {"program": flaps("refuse", good_ms=500, bad_ms=60)},
        {"program": flaps("reset", good_ms=40, bad_ms=40)},
        {"kill_every": 2},
        hang,
        hang,
    ]
    length_ms = FLAPS_UNTIL_MS + 100 + STABLE_MS + 200
    modes = [("fresh", 100), ("fresh", 100), ("fresh", 100), ("pinned", 2000 * KILLS / length_ms + 5)]
    modes += [("fresh", 50), ("pinned", 50)]
    with rig.simulator(ports) as (service, numbers):
        lanes = [rig.lane(n, numbers[n], mode, rate) for n, (mode, rate) in enumerate(modes)]
        with rig.meter(folder, lanes, deadline_ms=250) as metering:
            go = rig.monotonic_ns()
            service.tell({"go": go})
            rig.sleep_until(go + length_ms * rig.MS)
            stopped = rig.monotonic_ns()
            metering.stop()
        told = service.stop()
    return Together(rig.view(folder), told, stopped)
