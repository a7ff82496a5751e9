"""The open loop: nothing is retried, skipped, slowed down or hidden."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import time

import probe_servers as s
import pytest
from probe_metering import lane, metering, plan

from harness.records import REDIALLED, Outcome


async def ends_between(server, reader, writer):
    await server.request(reader)
    writer.write(s.answer())


async def speaks_unasked(server, reader, writer):
    await server.request(reader)
    writer.write(s.answer())
    await writer.drain()
    asyncio.get_running_loop().call_later(0.005, writer.write, s.answer(b"OK", "500 Late"))
    await s.until_gone(reader)


BREAKERS = {
    "kills": (s.kills_every_second, [Outcome.OK, Outcome.RESET]),
    "closes": (s.closes_every_second, [Outcome.OK, Outcome.CLOSED]),
    "ends-between": (ends_between, [Outcome.OK]),
    "speaks-unasked": (speaks_unasked, [Outcome.OK]),
}


@pytest.fixture(scope="module")
def broken(tmp_path_factory):
    """Four kept lanes whose servers break the connection, each in its own way."""
    with s.servers() as running:
        started = {name: running.start(handler) for name, (handler, _) in BREAKERS.items()}
        # Between two requests there must be time for the server's own end of the connection to arrive.
        rates = {"kills": 40, "closes": 40, "ends-between": 5, "speaks-unasked": 5}
        lanes = [lane(at, started[name].port, "pinned", rate_hz=rates[name]) for at, name in enumerate(started)]
        with metering(plan(tmp_path_factory.mktemp("broken"), lanes=lanes)) as run:
            run.until_slots(4)
            run.stop()
            yield {name: (server, run.slots(at)) for at, (name, server) in enumerate(started.items())}


@pytest.mark.parametrize("name", BREAKERS)
def test_each_kill_of_a_kept_connection_is_seen_once_and_an_idle_end_hurts_nobody(broken, name):
    _, slots = broken[name]
    cycle = BREAKERS[name][1]

    assert [slot.outcome for slot in slots] == [cycle[n % len(cycle)] for n in range(len(slots))]
    assert [slot.flags for slot in slots] == [REDIALLED if n and n % len(cycle) == 0 else 0 for n in range(len(slots))]


@pytest.mark.parametrize("name", BREAKERS)
def test_nothing_is_sent_twice(broken, name):
    server, slots = broken[name]

    assert all(slot.sent for slot in slots)
    assert server.requests == len(slots)
    assert server.connections == -(-len(slots) // len(BREAKERS[name][1]))


def test_a_frozen_server_is_felt_by_every_slot_due_meanwhile(servers, tmp_path):
    server = servers.start(s.saying(s.answer()))
    lanes = [lane(0, server.port, rate_hz=100), lane(1, server.port, "pinned", rate_hz=100)]
    with metering(plan(tmp_path, lanes=lanes)) as run:
        run.until_slots(5)
        servers.call(server.thaw.clear)
        frozen = time.monotonic_ns()
        time.sleep(0.3)  # the length of the fault, not a wait for something
        thawed = time.monotonic_ns()
        servers.call(server.thaw.set)
        run.until(lambda: run.live[-1]["t_ns"] > thawed)
        run.stop()
        slots = run.slots()

    assert {slot.outcome for slot in slots} == {Outcome.OK}
    assert server.requests == len(slots)
    for lane_id in (0, 1):
        inside = [t for t in slots if t.lane == lane_id and frozen + 20_000_000 < t.intended < thawed - 20_000_000]
        assert len(inside) >= 24
        for slot in inside:
            assert slot.latency_ns >= thawed - slot.intended


def test_a_busy_line_makes_slots_wait_and_miss_their_deadline(servers, tmp_path):
    server = servers.start(s.hangs)
    with metering(plan(tmp_path, lanes=[lane(0, server.port, "pinned", rate_hz=50)], deadline_ms=200)) as run:
        run.until_slots(12)
        run.stop()
        slots = run.slots(0)

    decided = [slot for slot in slots if slot.outcome != Outcome.UNKNOWN]
    assert {slot.outcome for slot in decided} == {Outcome.READ_TIMEOUT}
    assert {slot.latency_ns for slot in decided} == {200_000_000}
    # The first one holds the line for its whole deadline, then each next one redials.
    assert decided[1].sent == 0 or decided[1].sent >= decided[0].done
    assert [slot.flags for slot in decided if slot.connected] == [0] + [REDIALLED] * (
        len([slot for slot in decided if slot.connected]) - 1
    )


def test_running_out_of_descriptors_is_our_own_failure(servers, tmp_path):
    server = servers.start(s.saying(s.answer()))
    with metering(plan(tmp_path, lanes=[lane(0, server.port)], watchers=[])) as run:
        run.until_slots(4)
        used = len(os.listdir(f"/proc/{run.process.pid}/fd"))  # noqa: PTH208  # numbers, not paths
        resource.prlimit(run.process.pid, resource.RLIMIT_NOFILE, (used - 1, used - 1))
        run.until(lambda: run.live[-1]["lanes"]["0"][2] >= 4)
        run.stop()

    outcomes = run.outcomes(0)
    assert set(outcomes) == {Outcome.OK, Outcome.LOCAL_ERROR}
    assert outcomes[:4] == [Outcome.OK] * 4


def test_a_paused_meter_blames_itself(servers, tmp_path):
    server = servers.start(s.saying(s.answer()))
    lanes = [lane(0, server.port, rate_hz=100), lane(1, server.port, "pinned", rate_hz=100)]
    with metering(plan(tmp_path, lanes=lanes)) as run:
        run.until_slots(5)
        run.process.send_signal(signal.SIGSTOP)
        stopped = time.monotonic_ns()
        time.sleep(0.7)  # the length of the pause, not a wait for something
        resumed = time.monotonic_ns()
        run.process.send_signal(signal.SIGCONT)
        run.until(lambda: run.live[-1]["t_ns"] > resumed)
        run.stop()
        slots, checks = run.slots(), run.checks()

    assert {Outcome(slot.outcome) for slot in slots} == {Outcome.OK, Outcome.UNKNOWN}
    for slot in slots:
        if slot.outcome == Outcome.UNKNOWN:
            assert (slot.sent, slot.done) == (0, 0)
            assert stopped - 50_000_000 <= slot.intended <= resumed - 450_000_000
    # Sent late, all the same: those at most half a deadline behind.
    late = [slot for slot in slots if slot.sent - slot.intended > 100_000_000]
    assert {slot.lane for slot in late} == {0, 1}
    assert max(slot.sent - slot.intended for slot in late if slot.lane == 0) <= 500_000_000

    stalls = [row["stall"] for row in checks if "stall" in row]
    covering = [(since, to) for since, to in stalls if since <= stopped + 60_000_000 and to >= resumed]
    assert len(covering) == 1
    assert run.lines[-1]["stalls"] == len(stalls)
    assert max(row["lateness_max_ms"] for row in checks if "sent" in row) >= 600
    assert sum(row["unknown"] for row in checks if "sent" in row) == run.outcomes(0).count(
        Outcome.UNKNOWN
    ) + run.outcomes(1).count(Outcome.UNKNOWN)


def test_a_pause_longer_than_the_deadline_is_no_timeout(servers, tmp_path):
    """What was under way is answered in the meantime, or nobody can say; it is never a failure of the server."""
    server = servers.start(s.saying(s.answer()))
    lanes = [lane(0, server.port, rate_hz=200), lane(1, server.port, "pinned", rate_hz=200)]
    with metering(plan(tmp_path, lanes=lanes, deadline_ms=600)) as run:
        run.until_slots(5)
        run.process.send_signal(signal.SIGSTOP)
        time.sleep(0.8)  # the length of the pause, not a wait for something
        resumed = time.monotonic_ns()
        run.process.send_signal(signal.SIGCONT)
        run.until(lambda: run.live[-1]["t_ns"] > resumed)
        run.stop()

    assert {Outcome(slot.outcome) for slot in run.slots()} == {Outcome.OK, Outcome.UNKNOWN}
