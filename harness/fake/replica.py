"""A modelled `coder server`: start-up, listener, pool, heartbeats, and a provisioner daemon that works off jobs."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from harness.fake.migration import migrate
from harness.fake.pool import LOOK_S, Pool
from harness.fake.store import Member

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.fake.bugs import Behaviour
    from harness.fake.life import FakeProcess
    from harness.fake.store import Job, Store

_START_S = 1.0
_BUILD_S = 0.6
_BEAT_S = 5.0
_BEATS_MISSED = 3
_DAEMONS = 3
_TRIP_US = 2000


@dataclass
class Server:
    """What one life of a replica knows: whether it listens, and whether its database pool is open."""

    connections: Pool
    listening: bool = False
    pool: bool = False
    member: str = ""
    leaving: bool = False
    takes_jobs: bool = True
    jobs: int = 0
    cut_ns: int | None = None
    """When a watcher was cut off last."""
    measured: list[int] = field(default_factory=list)
    """Microseconds of a round trip to the database, at each heartbeat."""


class Replica:
    """The server inside a process, for as long as the stack lives. All of Coder's own times scale with `scale`."""

    def __init__(
        self, process: FakeProcess, store: Store, behaviour: Behaviour, *, scale: float, database: Callable[[], str]
    ) -> None:
        self.process = process
        self.store = store
        self.behaviour = behaviour
        self.scale = scale
        self.database = database
        """State of the database as a replica sees it: running, frozen or gone."""
        self.now = self._fresh()
        process.obeys, process.leaves_s, process.drains = behaviour.obeys, behaviour.leaves_s, behaviour.drains
        process.busy = lambda: self.now.jobs > 0 and not behaviour.orphans
        process.happened.append(self._happened)
        store.posted.append(self._work)
        self._boot()

    @property
    def gone_after_s(self) -> float:
        """Age of a row at which its replica is no member any more."""
        return _BEAT_S * _BEATS_MISSED * self.behaviour.heartbeat_factor * self.scale

    def members(self) -> list[Member]:
        """Everyone this replica takes for alive."""
        now = asyncio.get_running_loop().time()
        return [m for m in self.store.members.values() if not m.stopped and now - m.beat <= self.gone_after_s]

    @property
    def trip_us(self) -> int:
        """Microseconds of a round trip to the database, now."""
        return _TRIP_US + 1000 * sum(self.process.delays_ms.values())

    @property
    def healthy(self) -> bool:
        """Whether `/healthz` would be answered, if the process gets to it."""
        return self.process.life.alive and self.now.listening

    def _fresh(self) -> Server:
        return Server(Pool(self.behaviour))

    def _happened(self, what: str) -> None:
        if what == "started":
            self._boot()
        elif what == "died" and self.process.left and self.now.member:
            self.store.members[self.now.member].stopped = True
        elif what == "leaving":
            self.now.listening, self.now.leaving = False, True
            self.process.life.after(self.behaviour.takes_builds_s, partial(self._take_no_more, self.now))
        elif what == "thawed":
            self._work()

    def _take_no_more(self, server: Server) -> None:
        server.takes_jobs = False

    def _boot(self) -> None:
        life = self.process.life
        self.now = server = self._fresh()
        pool_s = self.behaviour.pool_s
        if self.behaviour.listen_before_pool:
            life.after(0.05, lambda: self._listen(server))
        life.after(_START_S * self.scale + pool_s, lambda: self._join(server))

    def _listen(self, server: Server) -> None:
        server.listening = True

    def _join(self, server: Server) -> None:
        if self.database() != "running":  # a server that cannot reach its database at the start keeps trying
            self.process.life.after(0.5, lambda: self._join(server))
            return
        migrate(self.process, self.store, self.behaviour.migrates_again, lambda: self._serve(server))

    def _serve(self, server: Server) -> None:
        server.listening = server.pool = True
        server.member, now = self.store.new_id(), asyncio.get_running_loop().time()
        self.store.members[server.member] = Member(server.member, self.process.name, now, since=now)
        self._measure(server)
        self._beat_later(server)
        if self.behaviour.leaks:
            self._look_later(server)
        self._work()

    def _beat_later(self, server: Server) -> None:
        def beat() -> None:
            if self.database() == "running":
                self.store.members[server.member].beat = asyncio.get_running_loop().time()
                self._measure(server)
            self._beat_later(server)

        self.process.life.after(_BEAT_S * self.behaviour.heartbeat_factor * self.scale, beat)

    def _look_later(self, server: Server) -> None:
        def look() -> None:
            server.connections.looked(self.process.life, self.trip_us / 1000)
            self._look_later(server)

        self.process.life.after(LOOK_S, look)

    def _measure(self, server: Server) -> None:
        """Write how long a round trip to the database takes, as far as the server tells."""
        server.measured.append(self.trip_us)
        late = self.behaviour.latency_beats_late
        if late is not None and len(server.measured) > late:
            self.store.members[server.member].latency_us = server.measured[-1 - late]

    def _work(self) -> None:
        """Take jobs while a daemon is free. A job of a replica that dies is left undone, as Coder's reaper finds it."""
        life, server = self.process.life, self.now
        able = server.pool and life.alive and not life.frozen and server.takes_jobs
        while self.store.jobs and able and server.jobs < _DAEMONS:
            server.jobs += 1
            self._do(self.store.jobs.pop(0), server)

    def _do(self, job: Job, server: Server) -> None:
        if server.leaving and self.behaviour.orphans:
            return  # its daemon is taken for good
        interrupted = server.leaving and self.behaviour.interrupts

        def done() -> None:
            server.jobs -= 1
            job.finish("failed" if interrupted else "succeeded")
            self._work()

        self.process.life.after(0.0 if interrupted else _BUILD_S * self.scale, done)
