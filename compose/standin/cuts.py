"""Watchers that were cut off: what two seeded behaviours do to the watches that come soon after, as they all do at once."""

import asyncio
import time
from collections.abc import Set as AbstractSet

from aiohttp import WSCloseCode

from standin.feeds import Close, Feed

_COUNTS_SECONDS = 2.0  # wall
_TOO_SOON: Close = (WSCloseCode.INTERNAL_ERROR, "The last connection is still being cleaned up")


class Cuts:
    """When a watcher of this replica was cut off last."""

    def __init__(self) -> None:
        self._until = 0.0

    def note(self, feed: Feed) -> None:
        """Hear that a watch is over; only one that ended without a close frame of either side counts."""
        if feed.was_cut:
            self._until = time.monotonic() + _COUNTS_SECONDS

    async def meet(self, bugs: AbstractSet[str]) -> Close | None:
        """Meet a new watch, whose upgrade was accepted: give the close that it gets, if any."""
        left = self._until - time.monotonic()
        if left > 0 and "reconnect-no-backoff" in bugs:
            return _TOO_SOON
        if left > 0 and "slow-reconnect" in bugs:
            await asyncio.sleep(left)
        return None
