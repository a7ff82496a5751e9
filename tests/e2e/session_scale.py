"""Thousands of sessions against a whole local stack, one replica killed: `python tests/e2e/session_scale.py [COUNT]`.

Prints what it found; `test_session_scale.py` asserts on it.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import anyio

from harness import bootstrap
from harness.backends import local
from harness.config import load
from harness.ledger import SESSIONS, read_rows
from harness.openfiles import raise_limit
from harness.populations import SessionLedger, read_sessions
from harness.safety import proc
from harness.series import SECOND, Interval
from harness.stack import Context, LaneSpec, MeterPlan, StackRequest, WatcherSpec

if TYPE_CHECKING:
    from harness.backends.local import LocalStack
    from harness.stack import Meter

POLICIES = ("stream", "vscode", "stream", "vscode", "eager")
"""By turns: what a population of people's clients looks like, and some that measure the server."""
OPTIONS = {"ping_every_ms": 10_000, "ping_timeout_ms": 5000, "dial_timeout_ms": 10_000}
"""On two cores a ping per second and session would be the load."""
WORKSPACES = 20
OPEN_S, BACK_S, IDLE_S = 180.0, 90.0, 10.0
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass
class Found:
    """What a run showed."""

    count: int
    opened: int = 0
    opened_s: float = 0.0
    back: int = 0
    victim_port: int = 0
    victims: int = 0
    """Sessions on the victim when it was killed, by the ledger."""
    killed_at: int = 0
    rss_mb: float = 0.0
    lateness_ms: float = 0.0
    idle_cpu: dict[str, float] = field(default_factory=dict)
    ledger: SessionLedger = field(default_factory=lambda: SessionLedger({}))

    def lines(self) -> list[str]:
        """For people."""
        said = [
            f"{self.opened} of {self.count} opened in {self.opened_s:.1f} s; the meter takes {self.rss_mb:.0f} MB",
            "idle, % of a core: " + ", ".join(f"{name} {share:.0f}" for name, share in self.idle_cpu.items()),
            f"killed the replica of {self.victims}; {self.back} of {self.count} live at the end",
            f"the meter's own lateness, worst p99 of a second: {self.lateness_ms:.1f} ms",
            f"checkpoints: {self.ledger.checkpoints}, {self.ledger.disagreement or 'all agree'}",
        ]
        since = Interval(self.killed_at, 1 << 62)
        for name, population in sorted(self.ledger.populations.items()):
            drops = population.dropped(since)
            causes = Counter(f"{d.cause}{f' {d.code}' if d.code else ''}" for d in drops)
            survival, peak = population.survival(drops), population.peak_dials(since)
            times = {share: survival.back_within(share) for share in (0.5, 0.95, 1.0)}
            back = ", ".join(
                f"{share:.0%} {'never' if t is None else f'{t / SECOND:.1f} s'}" for share, t in times.items()
            )
            said.append(
                f"{name}: {len(population.names)} sessions, {len(drops)} drops {dict(causes)}, back {back}, "
                f"peak {peak.dials} dials/s at {(peak.at - self.killed_at) / SECOND:.1f} s"
            )
            if gaps := sorted((d.parts.total, n) for n, d in enumerate(drops) if d.back is not None):
                middle = drops[gaps[len(gaps) // 2][1]].parts
                said.append(f"  median gap: {', '.join(f'{k} {v / SECOND:.2f} s' for k, v in vars(middle).items())}")
        return said


async def scale(folder: Path, count: int) -> Found:
    """Open `count` watch sessions through the balancer, kill one of three replicas, wait until they are back."""
    raise_limit()
    found, settings = Found(count), load({}, {})
    run = folder / "run"
    run.mkdir()
    context = Context("scale", run, lambda _: None, lambda _: None, settings.cache_dir, folder / "state")
    async with local.open(StackRequest(), context) as stack:
        world = await bootstrap.bootstrap(stack.api("balancer"), "scale", 0, WORKSPACES)
        bypass = {"X-Coder-Bypass-Ratelimit": "true"}
        sessions = [
            WatcherSpec(
                f"watch-{n:04}",
                world.workspaces[n % WORKSPACES],
                world.admin,
                POLICIES[n % len(POLICIES)],
                headers=bypass,
                options=OPTIONS,
            )
            for n in range(count)
        ]
        lanes = [LaneSpec(0, "balancer", "balancer", "fresh", "/api/v2/buildinfo", 20)]
        plan = MeterPlan(lanes, sessions, herd_step_ms=2, herd_at_once=50)
        began = time.monotonic()
        async with stack.meter(plan) as meter:
            pid = stack.site.keeper.processes["meter"].pid
            found.opened = await _live(meter, count, OPEN_S, found)
            found.opened_s = time.monotonic() - began
            found.rss_mb = _rss_mb(pid)
            found.idle_cpu = await _idle(stack, meter)
            victim = stack.target("coder-1")
            found.victim_port = victim.address.port
            found.killed_at = time.monotonic_ns()
            await victim.signal("KILL")
            await meter.tick()
            found.back = await _live(meter, count, BACK_S, found)
    found.ledger = read_sessions(run / SESSIONS)
    found.victims = _open_on(run, found.victim_port, found.killed_at)
    return found


async def _live(meter: Meter, count: int, within_s: float, found: Found) -> int:
    live = 0
    with anyio.move_on_after(within_s):
        while live < count:
            line = await meter.tick()
            live = line["live"]
            found.lateness_ms = max(found.lateness_ms, line["lateness_p99_ms"])
    return live


async def _idle(stack: LocalStack, meter: Meter) -> dict[str, float]:
    """Share of a core that each process takes while nothing happens."""
    processes = {name: ref.pid for name, ref in stack.site.keeper.processes.items() if proc.state(ref) != "gone"}
    start = {name: _cpu_s(pid) for name, pid in processes.items()}
    began = time.monotonic()
    while time.monotonic() - began < IDLE_S:
        await meter.tick()
    took = time.monotonic() - began
    return {name: 100 * (_cpu_s(pid) - start[name]) / took for name, pid in processes.items()}


def _rss_mb(pid: int) -> float:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / (1 << 20)


def _open_on(folder: Path, port: int, at: int) -> int:
    """Sessions that were open on a replica at a moment, by the ledger."""
    where: dict[str, int] = {}
    for row in read_rows(folder / SESSIONS):
        if row["t_ns"] > at:
            break
        if row["ev"] == "open":
            where[row["session"]] = row["upstream"]
        elif row["ev"] in {"drop", "stop"}:
            where.pop(row["session"], None)
    return sum(upstream == port for upstream in where.values())


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="chaos-scale-") as temp:
        for line in asyncio.run(scale(Path(temp), int(sys.argv[1]) if len(sys.argv) > 1 else 5000)).lines():
            print(line, flush=True)  # noqa: T201
