"""Hundreds of sessions: one replica of three is killed and comes back; the ledger knows all of it, in little memory."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import probe_servers as s
from probe_metering import metering, plan, watcher

from harness.populations import read_sessions

if TYPE_CHECKING:
    from probe_metering import Run

EACH = 100


async def stays(session: s.Session) -> None:
    session.text(s.PING)
    session.text(s.snapshot())
    await asyncio.Event().wait()


def sessions(ports: list[int], each: int) -> list[dict]:
    idle = {"redial_ms": 20, "ping_every_ms": 60_000}
    return [watcher(f"w{port}-{n}", port, **idle) for n in range(each) for port in ports]


def rss_kb(run: Run) -> int:
    return int(re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{run.process.pid}/status").read_text())[1])


def test_one_of_three_is_killed_and_comes_back(servers, tmp_path):
    three = [servers.start(s.watching(stays)) for _ in range(3)]
    ports = [server.port for server in three]
    victim, all_ = three[1], 3 * EACH
    (tmp_path / "few").mkdir()
    with metering(plan(tmp_path / "few", watchers=sessions(ports, 2), herd_step_ms=1)) as run:
        run.until(lambda: run.live and run.live[-1]["live"] == 6)
        few = rss_kb(run)
        run.stop()
    (tmp_path / "many").mkdir()
    with metering(plan(tmp_path / "many", watchers=sessions(ports, EACH), herd_step_ms=1)) as run:
        run.until(lambda: run.live and run.live[-1]["live"] == all_)
        assert (rss_kb(run) - few) / (all_ - 6) <= 8, "kB per idle socket"
        servers.kill(victim)
        run.until(lambda: run.live[-1]["live"] == all_ - EACH)
        servers.revive(victim)
        run.until(lambda: run.live[-1]["live"] == all_)
        run.stop()

    ledger = read_sessions(run.folder / "sessions.jsonl")
    assert ledger.disagreement is None
    population = ledger.population("watch.eager")
    assert len(population.names) == len(population.opened) == all_
    assert Counter(drop.cause for drop in population.drops) == {"reset": EACH}
    assert {drop.session for drop in population.drops} == {f"w{victim.port}-{n}" for n in range(EACH)}
    for drop in population.drops:
        assert drop.back is not None
        assert drop.parts.total == drop.back - drop.last
        assert drop.attempts >= 1
    refusals = {row["why"] for row in run.rows() if row["ev"] == "refused"}
    assert refusals <= {"refused", "reset"}
    assert "refused" in refusals
