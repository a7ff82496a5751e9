"""Counting the plain requests that are being answered, so that a shutdown can wait for them."""

import asyncio
import contextlib
from collections.abc import Iterator


class InFlight:
    """How many requests are open now."""

    def __init__(self) -> None:
        self._open = 0
        self._idle = asyncio.Event()
        self._idle.set()

    @contextlib.contextmanager
    def counted(self) -> Iterator[None]:
        """Count one request for as long as the body runs."""
        self._open += 1
        self._idle.clear()
        try:
            yield
        finally:
            self._open -= 1
            if self._open == 0:
                self._idle.set()

    async def drained(self, seconds: float) -> None:
        """Wait until none is open, at most ``seconds``."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._idle.wait()
