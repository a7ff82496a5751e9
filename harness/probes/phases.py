"""Limits of the single phases of an exchange: dial, handshake, first byte."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from harness.probes.exchange import Phase

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.probes.exchange import Exchange
    from harness.probes.plan import Timeouts


class Phases:
    """One line for each limited phase. A limit is the same for all who enter, so the first in line is the first to go."""

    def __init__(self, timeouts: Timeouts) -> None:
        limits = {
            Phase.CONNECT: timeouts.connect_ms,
            Phase.TLS: timeouts.tls_ms,
            Phase.FIRST_BYTE: timeouts.first_byte_ms,
        }
        self._lines: dict[Phase, tuple[int, deque[tuple[int, Exchange]]]] = {
            phase: (int(limit_ms * 1e6), deque()) for phase, limit_ms in limits.items() if limit_ms is not None
        }

    def enter(self, exchange: Exchange, now: int) -> None:
        """Hear that an exchange is in a phase from now on."""
        if exchange.phase in self._lines:
            limit, line = self._lines[exchange.phase]
            line.append((now + limit, exchange))

    def wake(self) -> int | None:
        """Say when somebody's limit is next, None without anybody in line."""
        return min((line[0][0] for _, line in self._lines.values() if line), default=None)

    def expire(self, now: int, unattended: Callable[[int, int], bool]) -> None:
        """End all who are still in their phase at its limit. `unattended` tells it of the time [from, to]."""
        for phase, (limit, line) in self._lines.items():
            while line and (line[0][0] <= now or line[0][1].phase is not phase or line[0][1].outcome is not None):
                at, exchange = line.popleft()
                if exchange.phase is phase and exchange.outcome is None:
                    exchange.expire(at, unattended=unattended(at - limit, at))
