"""A replica of the local stack: a process, and its own listener of Toxiproxy on the way to the database."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.clients.dblink import DatabaseListener
from harness.local.process import LocalProcess
from harness.local.throttle import Throttle

if TYPE_CHECKING:
    from harness.safety import undo
    from harness.stack import Address
    from harness.targets import Cut


@dataclass
class LocalReplica(LocalProcess):
    """Also a DatabaseLink, DatabaseCut and CpuLimited. `proxy` is Toxiproxy's API; the listener there has the replica's own name."""

    proxy: Address

    @property
    def link(self) -> DatabaseListener:
        """Its listener."""
        return DatabaseListener(self.proxy, self.name)

    async def slow_database(self, name: str, rtt_ms: int) -> None:
        """Add it."""
        await self.link.slow(name, rtt_ms)

    async def database_delay_ms(self, name: str) -> int:
        """As Toxiproxy itself says."""
        return await self.link.delay_ms(name)

    def undo_slow_database(self, name: str) -> list[undo.Step]:
        """Remove it."""
        return self.link.undo_slow(name)

    async def cut_database(self, name: str, how: Cut) -> None:
        """Cut it."""
        await self.link.cut(name, how)

    async def database_cut(self, name: str) -> Cut | None:
        """As Toxiproxy itself says."""
        return await self.link.how_cut(name)

    def undo_cut_database(self, name: str) -> list[undo.Step]:
        """Make it whole."""
        return self.link.undo_cut(name)

    async def throttle_cpu(self, percent: int) -> None:
        """Hold it down by a cgroup, or by stopping it in turns."""
        await Throttle(self.site, self.name, self.process).on(percent)

    async def cpu_percent(self) -> float:
        """As what holds it says."""
        return Throttle(self.site, self.name, self.process).percent()

    def undo_throttle_cpu(self) -> list[undo.Step]:
        """Undo of the means that this machine has."""
        return [Throttle(self.site, self.name, self.process).undo()]
