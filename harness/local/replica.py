"""A replica of the local stack: a process, and its own listener of Toxiproxy on the way to the database."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.clients.toxiproxy import Toxiproxy
from harness.local.process import LocalProcess
from harness.local.throttle import Throttle
from harness.safety import undo

if TYPE_CHECKING:
    from harness.stack import Address

_WAYS = {"up": "upstream", "down": "downstream"}


@dataclass
class LocalReplica(LocalProcess):
    """Also a DatabaseLink and CpuLimited. `proxy` is Toxiproxy's API; the listener there has the replica's own name."""

    proxy: Address

    async def slow_database(self, name: str, rtt_ms: int) -> None:
        """Add half of it in each direction: a toxic delays one way only."""
        client = Toxiproxy(self.proxy)
        for way, ms in (("up", rtt_ms // 2), ("down", rtt_ms - rtt_ms // 2)):
            await client.add_latency(self.name, f"{name}-{way}", _WAYS[way], ms)

    async def database_delay_ms(self, name: str) -> int:
        """Sum over both directions, as Toxiproxy itself says."""
        on = await Toxiproxy(self.proxy).latencies(self.name)
        return sum(on.get(f"{name}-{way}", 0) for way in _WAYS)

    async def throttle_cpu(self, percent: int) -> None:
        """Hold it down by a cgroup, or by stopping it in turns."""
        await Throttle(self.site, self.name, self.process).on(percent)

    async def cpu_percent(self) -> float:
        """As what holds it says."""
        return Throttle(self.site, self.name, self.process).percent()

    def undo_throttle_cpu(self) -> list[undo.Step]:
        """Undo of the means that this machine has."""
        return [Throttle(self.site, self.name, self.process).undo()]

    def undo_slow_database(self, name: str) -> list[undo.Step]:
        """Remove both."""
        return [undo.toxic_delete(self.proxy.url, self.name, f"{name}-{way}") for way in _WAYS]
