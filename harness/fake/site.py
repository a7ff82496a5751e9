"""Everything a fake stack consists of, wired together."""

from __future__ import annotations

import asyncio
from random import Random
from typing import TYPE_CHECKING

from harness.fake.balancer import Balancer
from harness.fake.bugs import behaviour
from harness.fake.life import FakeCoder, FakeProcess
from harness.fake.lock import Lock
from harness.fake.network import Network
from harness.fake.replica import Replica
from harness.fake.store import Store
from harness.stack import Address

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import Protocol

    from harness.fake.life import Life
    from harness.stack import Answer, StackRequest

    class Ended(Protocol):
        """Told how a database session ended."""

        def __call__(self, *, ok: bool) -> None: ...  # noqa: D102


_HOST = "127.0.0.1"
_MS = 1_000_000


class Site:
    """The modelled deployment. Everything random comes from `seed`; every time from the running loop."""

    def __init__(self, request: StackRequest, directory: Path, seed: str) -> None:
        self.loop = asyncio.get_running_loop()
        self.random = Random(seed)
        self.directory = directory
        self.scale = request.time_scale
        self.behaviour = behaviour(request.server_env)
        self.store = Store(self.random)
        self.outliving: set[asyncio.Task[Answer]] = set()
        """Requests that go on without their callers."""
        self.lock = Lock()
        self.turns = Lock()
        coders = [(f"coder-{n}", "coder") for n in range(1, request.replicas + 1)]
        roles = [*coders, ("postgres", "database"), ("toxiproxy", "proxy"), ("balancer", "balancer")]
        ports = iter(request.ports)
        self.processes = {
            name: (FakeCoder if role == "coder" else FakeProcess)(name, role, Address(_HOST, next(ports)), number)
            for number, (name, role) in enumerate(roles, 1)
        }
        self.database_path = [self.processes["toxiproxy"], self.processes["postgres"]]
        self.replicas = {
            name: Replica(
                self.processes[name], self.store, self.behaviour, scale=self.scale, database=self.database_state
            )
            for name, _ in coders
        }
        self.balancer = Balancer(self.processes["balancer"], list(self.replicas.values()), request.balancer)
        self.network = Network(self)

    def now_ns(self) -> int:
        """The loop's clock, as the runner reads it."""
        return int(self.loop.time() * 1e9)

    def database_state(self) -> str:
        """State of the database as a replica meets it, on the way through Toxiproxy."""
        return next((p.now for p in self.database_path if p.now != "running"), "running")

    def latency_ns(self, process: FakeProcess, *, db: bool) -> int:
        """How long a healthy answer takes: 1 to 2 ms, and with the database 2 ms and the delay of its link more.

        With a part of a processor it also waits for the process's turn.
        """
        own = _MS + self.random.randrange(11) * (_MS // 10) + int(self.pause_s(process) * 1e9)
        if not db:
            return own
        delay = sum(process.delays_ms.values())
        wait = self.replicas[process.name].now.connections.wait_ns(self.now_ns(), delay)
        return own + wait + 2 * _MS + self.behaviour.round_trips * delay * _MS

    def pause_s(self, process: FakeProcess) -> float:
        """How long a process that is held back waits until it may go on: some of the rest of a period of 100 ms."""
        return self.random.uniform(0.3, 1.0) * (100 - process.cpu) / 1000 if process.cpu < 100 else 0.0

    def turn(self, process: FakeProcess, ended: Callable[[], None]) -> None:
        """Hold the lock of which every request takes its turn, until the replica has gone on."""

        def finish() -> None:
            self.turns.release(ticket)
            ended()

        def granted() -> None:
            process.life.after(self.behaviour.turn_s + self.pause_s(process), finish)

        ticket = self.turns.ask(granted, exclusive=True)
        process.life.ends.append(lambda: self.turns.release(ticket))

    def shared(self, life: Life, ended: Ended) -> None:
        """Hold the deployment's lock shared for a request's time, in the time of the replica that asks."""
        limit = self.behaviour.lock_limit_s
        cut = [False]

        def granted() -> None:
            life.after(self.behaviour.lock_hold_s, finish)
            if limit is not None:
                self.loop.call_later(limit, expire)

        def finish() -> None:
            self.lock.release(ticket)
            ended(ok=not cut[0])

        def expire() -> None:
            cut[0] = not ticket.over
            self.lock.release(ticket)

        # The lock may be granted before `ask` returns, but never used before the loop's next turn.
        ticket = self.lock.ask(granted, exclusive=False)
        life.ends.append(lambda: self.lock.release(ticket))

    async def exclusively(self, life: Life) -> Callable[[], None]:
        """Wait for the lock alone; return what gives it back. Raises Died when the replica dies first."""
        turn, limit = asyncio.Event(), self.behaviour.lock_limit_s

        def granted() -> None:
            turn.set()
            if limit is not None:
                self.loop.call_later(limit, lambda: self.lock.release(ticket))

        ticket = self.lock.ask(granted, exclusive=True)
        life.ends.append(lambda: self.lock.release(ticket))
        try:
            while not turn.is_set():
                await life.sleep(0.005)
        except BaseException:
            self.lock.release(ticket)
            raise
        return lambda: self.lock.release(ticket)
