"""The fake load: users who each make a request per second through the modelled balancer, recorded as Locust's are."""

from __future__ import annotations

import json
from random import Random
from typing import TYPE_CHECKING

from harness.records import LOAD, LOAD_END, LOAD_START

if TYPE_CHECKING:
    from harness.fake.network import Flight
    from harness.fake.site import Site
    from harness.stack import LoadRequest

FILE = "load-0.bin"
_PATHS = ("buildinfo", "users/me", "workspaces", "templates")
_TIMEOUT_NS = 10_000_000_000
_PACE_S = 1.0


class FakeLoad:
    """A closed loop per user: think, ask, wait for the end."""

    def __init__(self, site: Site, request: LoadRequest) -> None:
        self._site = site
        self._request = request
        self._random = Random(request.seed)
        self._count = 0
        self._over = False
        self._file = (site.directory / FILE).open("xb", buffering=0)
        names = [f"GET /api/v2/{path}" for path in _PATHS]
        (site.directory / f"{FILE}.names.json").write_text(json.dumps(names))

    def start(self) -> None:
        """Let the users begin, spread over a second."""
        for number in range(self._request.users):
            self._site.loop.call_later(_PACE_S * number / self._request.users, self._ask)

    def stop(self) -> None:
        """Stop at once; what is open stays a start without an end."""
        self._over = True
        self._file.close()

    def _ask(self) -> None:
        if self._over:
            return
        path, now = self._random.randrange(len(_PATHS)), self._site.now_ns()
        flight = self._site.network.send("balancer", now, now + _TIMEOUT_NS, db=path > 0)
        self._count += 1
        self._mark(LOAD_START, path, self._count, now)
        self._wait(path, self._count, flight)

    def _wait(self, path: int, request: int, flight: Flight) -> None:
        """Look again when it should be over: meanwhile a fault may have changed that."""
        now = self._site.now_ns() + 1000  # float seconds hold whole nanoseconds only nearly
        if self._over:
            return
        if not flight.settle(now):
            until = flight.done or min(flight.deadline, now + 100_000_000)
            self._site.loop.call_at(until / 1e9, self._wait, path, request, flight)
            return
        self._mark(LOAD_END, path, request, flight.done, flight)
        self._site.loop.call_later(_PACE_S * self._random.uniform(0.8, 1.2), self._ask)

    def _mark(self, kind: int, path: int, request: int, t: int, flight: Flight | None = None) -> None:
        how = (flight.outcome, flight.status, path, flight.upstream) if flight else (0, 0, path, 0)
        self._file.write(LOAD.pack(kind, *how, request, 64 if flight and flight.status else 0, t))
