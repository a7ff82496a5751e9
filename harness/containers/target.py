"""A container of a stack as a target: signals and state through its engine."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import anyio

from harness.clients.toxiproxy import Toxiproxy
from harness.safety import cgroup, undo

if TYPE_CHECKING:
    from pathlib import Path

    from harness.clients.docker import Docker
    from harness.containers.members import Member
    from harness.local.process import Site
    from harness.stack import Address
    from harness.targets import State

_WAYS: Final = {"up": "upstream", "down": "downstream"}
_TOLD_S: Final = 2.0
_ALL: Final = 100.0


class Life(NamedTuple):
    """One life of a container: the process id on this machine, and when it began, as the engine writes it."""

    pid: int
    began: str

    def __str__(self) -> str:
        return f"{self.pid}@{self.began}"


@dataclass
class Container:
    """Signalable, Killable, Dismissable and Freezable."""

    member: Member
    docker: Docker
    site: Site
    life: Life = field(default_factory=lambda: Life(0, ""))
    """The latest life that was seen."""
    died: float = 0.0
    """When the engine last told of an end of it, in Unix seconds."""
    _heard: anyio.Event = field(default_factory=anyio.Event)

    @property
    def name(self) -> str:
        """Its name in the stack."""
        return self.member.name

    @property
    def role(self) -> str:
        """What it is for."""
        return self.member.role

    @property
    def address(self) -> Address:
        """Where the harness reaches it."""
        return self.member.address

    async def look(self) -> dict[str, Any]:
        """What the engine knows of it now; a new life is taken in."""
        found = await self.docker.inspect(self.member.container)
        state = found["State"]
        if state["Running"]:
            self.life = Life(state["Pid"], state["StartedAt"])
        return found

    def ended(self, at: float) -> None:
        """Hear from the engine that it ended."""
        self.died = max(self.died, at)
        self._heard.set()
        self._heard = anyio.Event()

    async def signal(self, name: str) -> None:
        """Send a signal; STOP and CONT hold every process of it. A kill is waited for, or an undo could find it dying."""
        container = self.member.container
        if name == "STOP":
            await self.docker.pause(container)
        elif name == "CONT":
            await self.docker.unpause(container)
        else:
            await self.docker.kill(container, name)
            if name == "KILL":
                await self.docker.wait(container)

    async def state(self) -> State:
        """What the engine says; of an end it has told by then too, so that it is in the log before what follows."""
        state = (await self.look())["State"]
        if state["Running"]:
            return "frozen" if state["Paused"] else "running"
        began = datetime.fromisoformat(state["StartedAt"]).timestamp()
        with anyio.move_on_after(_TOLD_S):
            while self.died < began:
                await self._heard.wait()
        return "gone"

    async def ask_to_leave(self) -> None:
        """Send SIGTERM, and remember which life was sent it."""
        state = (await self.look())["State"]
        if state["Running"]:
            self._asked.write_text(state["StartedAt"])
            await self.docker.kill(self.member.container, "TERM")

    async def was_asked(self) -> bool:
        """Whether the latest life was sent it."""
        await self.look()
        return self._asked.exists() and self._asked.read_text() == self.life.began

    def undo_start(self) -> undo.Step:
        """Start it again."""
        return undo.container_start(self.docker.path, self.member.container, self._asked)

    def undo_signal(self, name: str) -> undo.Step:
        """Send a signal to exactly this life of it."""
        return undo.container_signal(self.docker.path, self.member.container, self.life.began, name)

    @property
    def _asked(self) -> Path:
        return self.site.temp / f"asked-{self.name}"


@dataclass
class Replica(Container):
    """Also a DatabaseLink and CpuLimited. `proxy` is Toxiproxy's API."""

    proxy: Address | None = None
    nano: int = 0
    """Billionths of a processor it was allowed to begin with, 0 for no limit."""
    held: int = 0
    """How often the kernel had held it back before it was throttled."""

    async def slow_database(self, name: str, rtt_ms: int) -> None:
        """Add half of it in each direction: a toxic delays one way only."""
        client = self._toxiproxy()
        for way, ms in (("up", rtt_ms // 2), ("down", rtt_ms - rtt_ms // 2)):
            await client.add_latency(self.member.listener, f"{name}-{way}", _WAYS[way], ms)

    async def database_delay_ms(self, name: str) -> int:
        """Sum over both directions, as Toxiproxy itself says."""
        on = await self._toxiproxy().latencies(self.member.listener)
        return sum(on.get(f"{name}-{way}", 0) for way in _WAYS)

    async def toxics(self) -> list[str]:
        """Names of all toxics of its listener."""
        return await self._toxiproxy().toxics(self.member.listener)

    async def throttle_cpu(self, percent: int) -> None:
        """Hold it down by a quota of its cgroup."""
        self.held = await self._held_back()
        await self.docker.limit_cpu(self.member.container, percent * 10_000_000)

    async def cpu_percent(self) -> float:
        """As the engine says, once the kernel has held it back since."""
        host = (await self.look())["HostConfig"]
        quota, period = host["CpuQuota"], host["CpuPeriod"]
        if quota <= 0 or period <= 0 or await self._held_back() <= self.held:
            return _ALL
        return 100.0 * int(quota) / int(period)

    def undo_throttle_cpu(self) -> list[undo.Step]:
        """Give back what it had."""
        return [undo.container_cpu(self.docker.path, self.member.container, self.nano)]

    def undo_slow_database(self, name: str) -> list[undo.Step]:
        """Remove both."""
        proxy = self._proxy().url
        return [undo.toxic_delete(proxy, self.member.listener, f"{name}-{way}") for way in _WAYS]

    async def _held_back(self) -> int:
        """How often the kernel has held it back in this life: from its group where that is in sight, else from the engine."""
        group = cgroup.of(self.life.pid)
        return await self.docker.throttled(self.member.container) if group is None else cgroup.throttled(group)[1]

    def _toxiproxy(self) -> Toxiproxy:
        return Toxiproxy(self._proxy())

    def _proxy(self) -> Address:
        assert self.proxy is not None  # noqa: S101 - a replica is made with one
        return self.proxy
