"""`inbox`: the notifications of a user, as every dashboard page holds it open (site/src/modules/notifications).

The server says nothing until something happens, so a session is back with the first pong after the open.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, ClassVar

from harness.probes.kinds.base import Kind

if TYPE_CHECKING:
    from harness.probes.kinds.base import Live


class Inbox(Kind):
    """Messages are `{"notification": {...}, "unread_count": n}`."""

    name: ClassVar[str] = "inbox"
    path: ClassVar[str] = "/api/v2/notifications/inbox/watch?read_status=unread"
    pings_at_once: ClassVar[bool] = True

    def message(self, session: Live, data: bytes, now: int) -> None:
        """Take a notification."""
        try:
            raw = json.loads(data)
            unread, notification = raw["unread_count"], raw["notification"]["id"]
        except (ValueError, RecursionError, KeyError, TypeError, IndexError):
            unread = notification = None
        if isinstance(unread, int) and isinstance(notification, str):
            session.good(now, unread=unread, notification=notification[:80])
        else:
            session.bad(now, f"no notification: {data[:80].decode('utf-8', 'replace')}")

    def ponged(self, session: Live, now: int) -> None:
        """Take the first pong for what it is: the server reads and answers on this connection."""
        if not session.first:
            session.good(now)
