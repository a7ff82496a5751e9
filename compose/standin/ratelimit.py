"""Request limits: a sliding minute per caller and path, in memory per replica (coderd/httpmw/ratelimit.go)."""

import math
import time
from collections.abc import Callable

from standin.errors import ApiError

_WINDOW = 60  # wall seconds: what it limits are clients, whose pace does not scale
LOGIN_LIMIT = 60
FILES_LIMIT = 12


class RateLimiter:
    """Counts requests as go-chi/httprate does: this minute, plus the share of the last one still in the window."""

    def __init__(self, *, off: bool, now: Callable[[], float] = time.time) -> None:
        self._off = off
        self._now = now
        self._minute = 0
        self._counts: dict[tuple[str, str], int] = {}
        self._before: dict[tuple[str, str], int] = {}

    def take(self, caller: str, path: str, limit: int) -> dict[str, str]:
        """Count one request and give the X-RateLimit headers; raise 429 over the limit. Negative: no limit."""
        if self._off or limit < 0:
            return {}
        now = self._now()
        minute, into = divmod(now, _WINDOW)
        if minute != self._minute:
            self._before = self._counts if minute == self._minute + 1 else {}
            self._counts, self._minute = {}, int(minute)
        key = (caller, path)
        used = self._counts.get(key, 0) + self._before.get(key, 0) * (_WINDOW - into) / _WINDOW
        headers = {
            "X-RateLimit-Limit": str(limit),
            "X-RateLimit-Remaining": str(max(0, limit - math.ceil(used) - 1)),
            "X-RateLimit-Reset": str(int((minute + 1) * _WINDOW)),
        }
        if used + 1 > limit:
            headers["Retry-After"] = str(math.ceil(_WINDOW - into))
            text = f"You've been rate limited for sending more than {limit} requests in 1m0s."
            raise ApiError(429, text, headers=headers)
        self._counts[key] = self._counts.get(key, 0) + 1
        return headers
