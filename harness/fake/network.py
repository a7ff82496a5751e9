"""Requests of probes and load on their way through the modelled stack.

A flight's end is worked out when it takes off and corrected when something happens to the replica that has it, so that
the many requests that meet no fault cost one function call and no timer. Times in nanoseconds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.records import Outcome

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.fake.replica import Replica
    from harness.fake.site import Site

_MS = 1_000_000
_HOP = _MS // 5


class Flight:
    """One request. `done` is 0 while nobody answers; what is not done by `deadline` ended there, unanswered."""

    __slots__ = ("db", "deadline", "done", "front", "outcome", "replica", "start", "status", "upstream")

    def __init__(self, start: int, deadline: int, *, front: bool, db: bool) -> None:
        self.start, self.deadline = start, deadline
        self.front, self.db = front, db
        self.done = self.status = self.upstream = 0
        self.outcome = Outcome.READ_TIMEOUT
        self.replica: Replica | None = None

    def end(self, done: int, outcome: Outcome, status: int = 0, upstream: int = 0) -> None:
        """Set how it ends; the last word counts."""
        self.done, self.outcome, self.status, self.upstream = done, outcome, status, upstream

    def settle(self, now: int) -> bool:
        """Whether it is over by `now`; ends it at its deadline when that has passed."""
        if (not self.done or self.done > self.deadline) and self.deadline <= now:
            self.end(self.deadline, Outcome.READ_TIMEOUT)
        return bool(self.done) and self.done <= now


class Network:
    """Sends flights, and tells those under way what became of their replica."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._open: list[Flight] = []
        for replica in site.replicas.values():
            replica.process.happened.append(self._listener(replica))

    def send(self, name: str, start: int, deadline: int, *, db: bool) -> Flight:
        """Send a request to a target at `start` (now)."""
        site = self._site
        flight = Flight(start, deadline, front=name == "balancer", db=db)
        if not flight.front and name not in site.replicas:
            flight.end(start + _HOP, Outcome.REFUSED)
        elif flight.front:
            self._through_balancer(flight)
        else:
            flight.replica = site.replicas[name]
            self._reach(flight)
        if not flight.done or flight.done > start:
            self._open.append(flight)
        return flight

    def prune(self, now: int) -> None:
        """Forget the flights that are over."""
        self._open = [f for f in self._open if not f.settle(now)]

    def _through_balancer(self, flight: Flight) -> None:
        balancer = self._site.balancer
        if not balancer.accepts:
            flight.end(flight.start + _HOP, Outcome.REFUSED)
            return
        if balancer.process.now == "frozen":
            balancer.process.life.when_awake(lambda: self._through_balancer(flight))
            return
        flight.replica = balancer.pick()
        if flight.replica is None:
            flight.end(self._site.now_ns() + _HOP, Outcome.SERVER_ERROR, 503)
        else:
            self._reach(flight)

    def _reach(self, flight: Flight) -> None:
        replica, now = flight.replica, self._site.now_ns()
        if replica is None or now >= flight.deadline:
            return
        life = replica.process.life
        if not replica.healthy:
            self._no_one(flight, now, Outcome.REFUSED)
        elif life.frozen:
            flight.done = 0
            life.when_awake(lambda: self._reach(flight))
        elif not replica.now.pool:
            flight.end(now + _MS, Outcome.SERVER_ERROR, 500, self._named(flight))
        elif flight.db:
            self._ask_database(flight, replica)
        else:
            flight.end(now + self._site.latency_ns(replica.process, db=False), Outcome.OK, 200, self._named(flight))

    def _ask_database(self, flight: Flight, replica: Replica) -> None:
        site, now, process = self._site, self._site.now_ns(), replica.process
        broken = next((p for p in site.database_path if p.now != "running"), None)
        if broken is not None and broken.now == "gone":
            flight.end(now + _MS, Outcome.SERVER_ERROR, 500, self._named(flight))
        elif broken is not None:
            flight.done = 0
            broken.life.when_awake(lambda: self._reach(flight))
        elif site.behaviour.turn_s:
            flight.done = 0

            def turned() -> None:
                flight.end(site.now_ns() + site.latency_ns(process, db=True), Outcome.OK, 200, self._named(flight))

            site.turn(process, turned)
        elif not site.behaviour.lock_hold_s:
            flight.end(now + site.latency_ns(process, db=True), Outcome.OK, 200, self._named(flight))
        else:
            flight.done = 0

            def end(*, ok: bool) -> None:
                outcome, status = (Outcome.OK, 200) if ok else (Outcome.SERVER_ERROR, 500)
                flight.end(site.now_ns() + site.latency_ns(process, db=True), outcome, status, self._named(flight))

            site.shared(process.life, end)

    def _no_one(self, flight: Flight, now: int, outcome: Outcome) -> None:
        """Nobody answers: a direct client meets the error itself, one of the balancer its 502."""
        if flight.front:
            flight.end(now + _HOP, Outcome.SERVER_ERROR, 502)
        else:
            flight.end(now + _HOP, outcome)

    def _named(self, flight: Flight) -> int:
        """Port in the header that only the balancer adds."""
        return flight.replica.process.address.port if flight.front and flight.replica else 0

    def _listener(self, replica: Replica) -> Callable[[str], None]:
        def happened(what: str) -> None:
            now = self._site.now_ns()
            mine = [f for f in self._open if f.replica is replica and not f.settle(now)]
            for flight in mine:
                if what == "died":
                    self._no_one(flight, now, Outcome.RESET)
                elif what == "frozen" and flight.done:
                    self._reach(flight)

        return happened
