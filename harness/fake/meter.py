"""The fake meter: sends what the plan says into the modelled network, and writes the real meter's files."""

from __future__ import annotations

import json
from collections import Counter
from contextlib import ExitStack
from heapq import heapify, heapreplace
from typing import TYPE_CHECKING, Any

import anyio

from harness.fake.watchers import Watcher
from harness.ledger import SESSIONS
from harness.records import SLOT, UNDECIDED, Outcome
from harness.timeline import METER, SLOTS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.fake.network import Flight
    from harness.fake.site import Site
    from harness.stack import LaneSpec, MeterPlan

_PERIOD_S = 0.25
_PERIODS = 4
_SECOND = 1_000_000_000
_LEAD_NS = 20_000_000
_TURNS = (("opens", "open"), ("drops", "drop"), ("stops", "stop"))


class FakeMeter:
    """See `harness.stack.Meter`."""

    def __init__(self, site: Site, plan: MeterPlan) -> None:
        self._site = site
        self._plan = plan
        self._flying: list[tuple[LaneSpec, int, Flight]] = []
        self._tallies = {lane.id: [0, 0, 0] for lane in plan.lanes}
        self._outcomes = {lane.id: [0] * len(Outcome) for lane in plan.lanes}
        self._rows = self._periods = self._slots = self._sent = 0
        self._over = False
        self._turns: Counter[str] = Counter()
        self.files = ExitStack()
        folder = site.directory
        self._bin = self.files.enter_context((folder / SLOTS).open("xb"))
        self._ledger = self.files.enter_context((folder / SESSIONS).open("x"))
        self._checks = self.files.enter_context((folder / METER).open("x"))
        self._watchers = [Watcher(spec, site, plan.seed, self._session) for spec in plan.watchers]
        for watcher in self._watchers:
            site.store.committed.append(watcher.changed)

    def start(self) -> None:
        """Begin: lanes are shifted against each other, watchers dial one after the other."""
        now, lanes = self._site.now_ns(), self._plan.lanes
        self._check({"start": {"t_ns": now, "uvloop": False, "nice": 0, "pid": 0, "counted": True}})
        self._starts = [now + _LEAD_NS + int(_SECOND / lane.rate_hz * k / len(lanes)) for k, lane in enumerate(lanes)]
        self._due = [(start, k, 0) for k, start in enumerate(self._starts)]
        heapify(self._due)
        self._arm()
        for number, watcher in enumerate(self._watchers):
            self._site.loop.call_later(number * self._plan.herd_step_ms / 1000, watcher.dial)

    async def tick(self) -> Mapping[str, Any]:
        """Wait for the next report."""
        await anyio.sleep(_PERIOD_S)
        return self._report()

    def stop(self) -> None:
        """End: what is under way and unanswered is unknown."""
        self._over = True
        for watcher in self._watchers:
            watcher.stop()
            self._site.store.committed.remove(watcher.changed)
        self._report(final=True)
        self.files.close()

    def _arm(self) -> None:
        self._site.loop.call_at(self._due[0][0] / 1e9, self._send)

    def _send(self) -> None:
        if self._over:
            return
        # A timer may come a little early, as float seconds hold whole nanoseconds only nearly.
        now, deadline = self._site.now_ns() + 1000, self._plan.deadline_ms * 1_000_000
        while self._due[0][0] <= now:
            due, k, slot = self._due[0]
            lane = self._plan.lanes[k]
            flight = self._site.network.send(lane.target, due, due + deadline, db=lane.kind == "db")
            self._flying.append((lane, slot, flight))
            self._sent += 1
            heapreplace(self._due, (self._starts[k] + round((slot + 1) * _SECOND / lane.rate_hz), k, slot + 1))
        self._arm()

    def _report(self, *, final: bool = False) -> dict[str, Any]:
        now = self._site.now_ns()
        left = []
        for lane, slot, flight in self._flying:
            if flight.settle(now):
                self._record(lane, slot, flight)
            elif final:
                flight.end(0, Outcome.UNKNOWN)
                self._record(lane, slot, flight)
            else:
                left.append((lane, slot, flight))
        self._flying = left
        self._site.network.prune(now)
        self._periods += 1
        if final or self._periods % _PERIODS == 0:
            quiet = dict.fromkeys(("lateness_p50_ms", "lateness_p99_ms", "lateness_max_ms"), 0.0)
            self._check({"t_ns": now, **quiet, "sent": self._sent, "unknown": 0, "cpu_s": 0.0, "steal_s": 0.0})
            self._sent = 0
            self._checkpoint(now)
        if final:
            self._check({"tally": {str(lane): counts for lane, counts in self._outcomes.items()}})
        for file in (self._bin, self._ledger):
            file.flush()
        live = {
            "t_ns": now,
            "slots": self._slots,
            "rows": self._rows,
            "lanes": {str(lane): list(tally) for lane, tally in self._tallies.items()},
            "live": sum(w.live for w in self._watchers),
            "open": sum(w.open for w in self._watchers),
            "lateness_p99_ms": 0.0,
            "stalls": 0,
        }
        return live | ({"final": True} if final else {})

    def _record(self, lane: LaneSpec, slot: int, flight: Flight) -> None:
        reached = flight.start if flight.outcome not in (Outcome.REFUSED, Outcome.CONNECT_TIMEOUT) else 0
        first = flight.done if flight.status else 0
        facts = (lane.id, flight.outcome, 0, flight.status, flight.upstream, slot)
        self._bin.write(SLOT.pack(*facts, flight.start, flight.start, reached, first, flight.done))
        self._slots += 1
        self._outcomes[lane.id][flight.outcome] += 1
        self._tallies[lane.id][0 if flight.outcome is Outcome.OK else 2 if flight.outcome in UNDECIDED else 1] += 1

    def _checkpoint(self, now: int) -> None:
        if self._watchers:
            counts = {name: self._turns[turn] for name, turn in _TURNS}
            alive = [w for w in self._watchers if w.open]
            living = {"open": len(alive), "first": sum(w.live for w in alive)}
            self._session({"t_ns": now, "ev": "checkpoint", **counts, **living})

    def _session(self, row: dict[str, Any]) -> None:
        self._rows += 1
        self._turns[row["ev"]] += 1
        self._ledger.write(json.dumps(row, separators=(",", ":")) + "\n")

    def _check(self, row: dict[str, Any]) -> None:
        self._checks.write(json.dumps(row, separators=(",", ":")) + "\n")
