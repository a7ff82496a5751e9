"""Outages that are planted, measured by the real meter, and read by the judge's own code: does it say the truth?

**What is true.** An outage is the time in which the service does not give the right answer. Its edges are deeds of the
simulator, each known to a bracket of microseconds. `Series.outages` states an interval for each edge; the statement is
*refuted* when it has no moment in common with the true bracket.

**A freeze** ends an answer late, never wrong: shorter than the meter's deadline it makes no bad slot, only slow ones.
Then the statement must be "no outage", and the slowest answer must show its length. A freeze about as long as the
deadline is not planted: the phase of the schedule would decide whether it costs a slot.

**429** is the fault of our own rate: its slots are unknown. No outage may be stated, and the one that counts every
unknown slot as bad must hold the truth.

**How well an edge is known** depends on the lane, so the lanes are of three groups. `sharp`: a new connection for each
slot, and a service that answers at once; the goals hold for it. `slow`: the service takes 50 ms, and a fault may hit a
request anywhere in them. `pinned`: one kept connection, which a request that hangs occupies until its deadline.
"""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass, field
from itertools import pairwise
from random import Random
from time import monotonic_ns
from typing import TYPE_CHECKING, Any, NamedTuple

import metro_rig as rig
from faultsim import KINDS

from harness.records import UNDECIDED
from harness.series import Interval, quantile

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from harness.series import Outage, Series

MS = rig.MS
RATE_HZ = 100.0
SLOT_MS = 1000 / RATE_HZ
DEADLINE_MS = 250.0
SHORTEST_MS = 50.0
LEAD_MS = 900.0
"""From the first slot to the first outage: what is usual on a lane must be known by then."""
PAUSE_MS = (800.0, 1100.0)
"""Between two outages of a lane."""
HUGE_MS = 300.0
"""Longest stretch of 100 MB answers: a hundred of them per second are a load of their own."""


class Kind(NamedTuple):
    """A lane: how it connects, and how long the service behind it takes."""

    group: str
    mode: str
    service_ms: float


SHARP, SLOW, PINNED = Kind("sharp", "fresh", 0.0), Kind("slow", "fresh", 50.0), Kind("pinned", "pinned", 0.0)


class Planted(NamedTuple):
    """One outage to be: on which lane, of what kind, when and for how long in ms from the start of the programs."""

    lane: int
    kind: str
    at_ms: float
    for_ms: float


def plan(seed: int, count: int, lanes: list[Kind], longest_ms: float) -> list[Planted]:
    """`count` outages, log-uniform from 50 ms to `longest_ms`, every kind equally often, spread evenly over the lanes."""
    random = Random(seed)
    kinds = [KINDS[n % len(KINDS)] for n in range(count)]
    drawn = sorted(((_length(random, kind, longest_ms), kind) for kind in kinds), reverse=True)
    own: list[list[tuple[float, str]]] = [[] for _ in lanes]
    for length, kind in drawn:  # longest first, each to the lane with the least: all end at about the same time
        # Nobody refuses a connection that is there already, so a pinned lane does not see it.
        fit = [n for n, lane in enumerate(lanes) if kind != "refuse" or lane.mode == "fresh"]
        own[min(fit, key=lambda n: sum(part + PAUSE_MS[0] for part, _ in own[n]))].append((length, kind))
    made = []
    for lane, parts in enumerate(own):
        random.shuffle(parts)
        at = LEAD_MS + random.uniform(0, 1000 / RATE_HZ * len(lanes))
        for length, kind in parts:
            made.append(Planted(lane, kind, at, length))
            at += length + random.uniform(*PAUSE_MS)
    return made


def _length(random: Random, kind: str, longest_ms: float) -> float:
    longest_ms = min(longest_ms, HUGE_MS) if kind == "huge" else longest_ms
    while True:
        length = math.exp(random.uniform(math.log(SHORTEST_MS), math.log(longest_ms)))
        if kind != "freeze" or abs(length - DEADLINE_MS) > SLOW.service_ms + 2 * SLOT_MS:
            return length


class Edge(NamedTuple):
    """One edge of one outage: the bracket it happened in, and what is stated about it."""

    what: str
    true: Interval
    stated: Interval

    @property
    def refuted(self) -> bool:
        return self.stated.hi < self.true.lo or self.true.hi < self.stated.lo

    @property
    def width_ms(self) -> float:
        return (self.stated.hi - self.stated.lo) / MS

    @property
    def error_ms(self) -> float:
        """How far the middle of the statement is from the nearest end of the true bracket."""
        point = (self.stated.lo + self.stated.hi) // 2
        return max(self.true.lo - point, point - self.true.hi, 0) / MS

    def __str__(self) -> str:
        stated, true = ([round((t - self.true.lo) / MS, 3) for t in pair] for pair in (self.stated, self.true))
        return f"{self.what}: stated {stated} ms, true {true} ms"


@dataclass
class Report:
    """What came of a run: the edges by group of lanes (`unknown` for 429), and everything else that is wrong."""

    planted: int
    lateness_p99_ms: float
    stalls: int
    """Times at which the simulator itself was not running for 20 ms."""
    edges: dict[str, list[Edge]] = field(default_factory=dict)
    only_slow: int = 0
    wrong: list[str] = field(default_factory=list)
    brackets_ms: list[float] = field(default_factory=list)

    @property
    def stated(self) -> list[Edge]:
        """Edges of outages that are stated. Those of `unknown` are upper bounds, easily true, and do not count with them."""
        return [edge for group, edges in self.edges.items() if group != "unknown" for edge in edges]

    @property
    def refuted(self) -> list[Edge]:
        return [edge for edge in self.stated if edge.refuted]

    def contained(self) -> float:
        return 1 - len(self.refuted) / len(self.stated)

    def width_ms(self, group: str) -> float:
        return statistics.median(edge.width_ms for edge in self.edges[group])

    def error_p95_ms(self, group: str) -> float:
        return quantile(sorted(int(edge.error_ms * MS) for edge in self.edges[group]), 0.95) / MS


def run(folder: Path, outages: list[Planted], lanes: list[Kind], *, busy: int) -> Report:
    """Play the outages beside `busy` busy loops."""
    ports = [{"service_ms": lane.service_ms, "program": []} for lane in lanes]
    for p in outages:
        ports[p.lane]["program"].append({"at_ms": p.at_ms, "for_ms": p.for_ms, "kind": p.kind})
    end_ms = max(p.at_ms + p.for_ms for p in outages) + DEADLINE_MS + 400
    with rig.simulator(ports) as (service, numbers), rig.busy(busy):
        rows = [rig.lane(n, port, lanes[n].mode, RATE_HZ) for n, port in enumerate(numbers)]
        with rig.meter(folder, rows, DEADLINE_MS) as metering:
            go = monotonic_ns()
            service.tell({"go": go})
            rig.sleep_until(go + int(end_ms * MS))
            metering.stop()
        told = service.stop()
    return judge(rig.view(folder).series(), outages, lanes, told)


def judge(series: list[Series], outages: list[Planted], lanes: list[Kind], told: dict[str, Any]) -> Report:
    """Hold what is stated against what was done."""
    lateness = sorted(late for s in series for n, late in enumerate(s.lateness) if s.was_sent(n) and _fresh(lanes, s))
    report = Report(len(outages), quantile(lateness, 0.99) / MS, len(told["stalls"]))
    for s in series:
        acts = [act for act in told["acts"] if act["port"] == s.lane.id]
        mine = [p for p in outages if p.lane == s.lane.id]
        for p, act, window in zip(mine, acts, _windows(acts, s), strict=True):
            truth = Interval(*act["down"]), Interval(*act["up"])
            report.brackets_ms += [(b.hi - b.lo) / MS for b in truth]
            _judge_one(report, s, p, truth, window, group=lanes[p.lane].group)
    return report


def _fresh(lanes: list[Kind], s: Series) -> bool:
    return lanes[s.lane.id].mode == "fresh"


def _windows(acts: list[dict[str, Any]], s: Series) -> list[Interval]:
    """One window per act: its borders lie in the middle of the good stretches around it."""
    middles = [(a["up"][1] + b["down"][0]) // 2 for a, b in pairwise(acts)]
    return [Interval(*pair) for pair in pairwise([s.intended[0], *middles, s.intended[-1] + 1])]


def _judge_one(
    report: Report, s: Series, p: Planted, truth: tuple[Interval, Interval], window: Interval, *, group: str
) -> None:
    down, up = truth
    what = f"{p.kind} of {p.for_ms:.0f} ms, lane {p.lane} ({group})"
    found = list(s.outages(window))
    if p.kind == "freeze" and p.for_ms < DEADLINE_MS:
        report.only_slow += 1
        report.wrong += _judge_slow(s, window, down, up, what)
        return
    if p.kind == "rate-limited":
        group = "unknown"
        report.wrong += [f"{what}: our own rate is stated as an outage, {_said(found, down.lo)}"] * bool(found)
        if not all(s.outcome[i] in UNDECIDED for i in s.range(Interval(down.hi, up.lo - int(SLOT_MS * MS)))):
            report.wrong.append(f"{what}: not all of its slots are unknown")
        found = list(s.outages(window, unknown_is_bad=True))
    if len(found) != 1:
        report.wrong.append(f"{what}: {len(found)} outages stated instead of one: {_said(found, down.lo)}")
        return
    edges = [Edge(f"begin of {what}", down, found[0].start), Edge(f"end of {what}", up, found[0].end)]
    report.edges.setdefault(group, []).extend(edges)
    if group == "unknown":
        report.wrong += [f"{edge}: beyond the upper bound" for edge in edges if edge.refuted]


def _judge_slow(s: Series, window: Interval, down: Interval, up: Interval, what: str) -> Iterator[str]:
    """A freeze below the deadline: no outage, and the slowest answer is as late as the first slot of the freeze."""
    if found := list(s.outages(window)):
        yield f"{what}: stated as an outage, {_said(found, down.lo)}"
        return
    slowest = max(s.latency[i] for i in s.range(window)) / MS
    usual = max(s.latency[i] for i in s.range(Interval(window.lo, down.lo)) if s.done(i) < down.lo) / MS
    if not (up.lo - down.hi) / MS - SLOT_MS <= slowest <= (up.hi - down.lo) / MS + usual + SLOT_MS:
        yield f"{what}: the slowest answer took {slowest:.1f} ms"


def _said(found: list[Outage], zero: int) -> str:
    return ", ".join(f"[{(o.start.lo - zero) / MS:.1f}, {(o.end.hi - zero) / MS:.1f}] ms" for o in found) or "none"
