"""Which lane a mode of the plan is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from harness.probes.lanes import FreshLane, PinnedLane
from harness.probes.ws_lane import WsLane

if TYPE_CHECKING:
    from harness.probes.lanes import Lane, LaneTools
    from harness.probes.plan import LanePlan
    from harness.probes.tcp import Address

_MODES: Final[dict[str, type[Lane]]] = {"fresh": FreshLane, "pinned": PinnedLane, "ws": WsLane}


def lane_of(plan: LanePlan, address: Address, tools: LaneTools) -> Lane:
    """Build the lane a plan describes."""
    return _MODES[plan.mode](plan, address, tools)
