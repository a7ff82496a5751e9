"""A replica's own way to the database: its listener in Toxiproxy, made slow or cut, and put back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from harness.clients.toxiproxy import Toxiproxy
from harness.safety import undo

if TYPE_CHECKING:
    from harness.stack import Address
    from harness.targets import Cut

_WAYS: Final = {"up": "upstream", "down": "downstream"}


@dataclass(frozen=True)
class DatabaseListener:
    """The listener `name` of the Toxiproxy whose API is at `api`. All methods raise HarnessError."""

    api: Address
    name: str

    async def slow(self, toxic: str, rtt_ms: int) -> None:
        """Add `rtt_ms` to every round trip, half of it in each direction: a toxic delays one way only."""
        for way, ms in (("up", rtt_ms // 2), ("down", rtt_ms - rtt_ms // 2)):
            await self._client.add_latency(self.name, f"{toxic}-{way}", _WAYS[way], ms)

    async def delay_ms(self, toxic: str) -> int:
        """Sum over both directions, as Toxiproxy itself says."""
        on = await self._client.latencies(self.name)
        return sum(on.get(f"{toxic}-{way}", 0) for way in _WAYS)

    async def cut(self, toxic: str, how: Cut) -> None:
        """Refuse every connection and end those there are, or let nothing through any more, both ways."""
        if how == "refused":
            await self._client.switch(self.name, on=False)
            return
        for way, stream in _WAYS.items():
            await self._client.add_black_hole(self.name, f"{toxic}-{way}", stream)

    async def how_cut(self, toxic: str) -> Cut | None:
        """How it is cut now, as Toxiproxy itself says."""
        on, toxics = await self._client.state(self.name)
        if not on:
            return "refused"
        return "hangs" if {f"{toxic}-{way}" for way in _WAYS} <= set(toxics) else None

    async def held(self) -> list[str]:
        """One line for each thing that a fault may have left."""
        on, toxics = await self._client.state(self.name)
        return [*([] if on else ["its way to the database is switched off"]), *(f"the toxic {t} is on" for t in toxics)]

    def undo_slow(self, toxic: str) -> list[undo.Step]:
        """Remove both."""
        return [undo.toxic_delete(self.api.url, self.name, f"{toxic}-{way}") for way in _WAYS]

    def undo_cut(self, toxic: str) -> list[undo.Step]:
        """Switch it on, and remove both, whichever it was."""
        return [undo.proxy_enable(self.api.url, self.name), *self.undo_slow(toxic)]

    @property
    def _client(self) -> Toxiproxy:
        return Toxiproxy(self.api)
