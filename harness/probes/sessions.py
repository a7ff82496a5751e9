"""All sessions of a meter: what they share, how the first dials are paced, and how many are open."""

from __future__ import annotations

from time import monotonic_ns
from typing import TYPE_CHECKING, Final

from harness.probes.kinds import kinds
from harness.probes.session import Session, State
from harness.probes.session_dial import Upgrade
from harness.probes.session_frames import Frames
from harness.probes.tcp import resolve
from harness.probes.tls import prepare_tls
from harness.probes.wheel import Wheel

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop

    from harness.probes.ledger import Ledger
    from harness.probes.plan import Plan
    from harness.probes.session_plan import SessionGroup
    from harness.probes.tcp import Address
    from harness.upstreams import Upstreams

_MILLI: Final = 1_000_000


class Tools:
    """What every session uses."""

    def __init__(self, loop: AbstractEventLoop, ledger: Ledger, upstreams: Upstreams, seed: int) -> None:
        self.loop = loop
        self.ledger = ledger
        self.upstreams = upstreams
        self.seed = seed
        self.wheel = Wheel(loop)
        self.frames = Frames()
        self.dialling = 0
        """Dials without an answer yet."""


class Crew:
    """What the sessions of one group share, in the units they need."""

    def __init__(self, group: SessionGroup, address: Address, tools: Tools) -> None:
        self.tools = tools
        self.ledger = tools.ledger
        self.address = address
        self.kind = kinds()[group.kind]
        self.policy = group.policy
        self.headers = dict(group.headers)
        self.dial_timeout_ns = int(group.dial_timeout_ms * _MILLI)
        self.ping_every_ns = int(group.ping_every_ms * _MILLI)
        self.ping_timeout_ns = int(group.ping_timeout_ms * _MILLI)
        self.beat_ns = int(group.beat_ms * _MILLI)
        self.tls = prepare_tls(group.tls, group.host)
        self._host, self._port = group.host, group.port

    def upgrade(self, path: str) -> Upgrade:
        """Begin a handshake."""
        return Upgrade(self._host, self._port, path, secure=self.tls is not None)


class Sessions:
    """All sessions. Raises PlanError for names that do not resolve and certificates that do not load."""

    def __init__(self, plan: Plan, loop: AbstractEventLoop, ledger: Ledger) -> None:
        self._tools = Tools(loop, ledger, plan.upstreams, plan.herd.seed)
        crews: dict[SessionGroup, Crew] = {}
        for group in dict.fromkeys(watcher.group for watcher in plan.watchers):
            crews[group] = Crew(group, resolve(group.host, group.port), self._tools)
        self._all = [Session(watcher, crews[watcher.group]) for watcher in plan.watchers]
        self._step = int(plan.herd.step_ms * _MILLI)
        self._at_once = plan.herd.at_once
        self._begun = 0
        self._started_at = 0
        self.slot = 0
        """See `wheel.Sleeper`: the herd itself is woken for its first dials."""

    def start(self) -> None:
        """Begin to dial."""
        self._started_at = monotonic_ns()
        self.wake(self._started_at)

    def wake(self, now: int) -> None:
        """Dial those whose turn has come, as long as there are not too many unanswered."""
        due = min((now - self._started_at) // self._step + 1, len(self._all))
        while self._begun < due and self._tools.dialling < self._at_once:
            self._all[self._begun].start()
            self._begun += 1
        if self._begun < len(self._all):
            turn = self._started_at + self._begun * self._step
            self._tools.wheel.set(self, max(turn, now + self._step))

    def checkpoint(self) -> None:
        """Count the living and write it down."""
        alive = [session for session in self._all if session.state is State.OPEN]
        first = sum(session.first for session in alive)
        self._tools.ledger.checkpoint(monotonic_ns(), opened=len(alive), first=first)

    def stop(self) -> None:
        """End them all."""
        self._tools.wheel.clear(self)
        for session in self._all:
            session.stop()
