"""What becomes of a slot after its deadline, and what the limits of single phases do."""

from __future__ import annotations

import asyncio

import probe_servers as s
import pytest
from probe_metering import lane, metering, plan
from test_probes_outcomes import no_room

from harness.records import Outcome

DEADLINE_MS, FOLLOW_MS = 400, 2500
THEN_S = 0.7
LIMIT_MS = 150


def then(act, seconds: float):
    """Read a request, wait, then act."""

    async def handle(server, reader, writer):
        await server.request(reader)
        await asyncio.sleep(seconds)
        act(writer)

    return handle


async def begins_only(server, reader, writer):
    await server.request(reader)
    writer.write(s.answer()[:20])
    await s.until_gone(reader)


LATE = {
    "slow": (s.slow(THEN_S), Outcome.OK),
    "slow-500": (then(lambda w: w.write(s.answer(status="500 Late")), THEN_S), Outcome.SERVER_ERROR),
    "resets": (then(s.reset, THEN_S), Outcome.RESET),
    "closes": (then(lambda _: None, THEN_S), Outcome.CLOSED),
    "half": (then(lambda w: w.write(s.answer()[:-1]), THEN_S), Outcome.CLOSED),
    "hangs": (s.hangs, Outcome.READ_TIMEOUT),
    "begins-only": (begins_only, Outcome.READ_TIMEOUT),
}


@pytest.fixture(scope="module")
def followed(tmp_path_factory):
    with s.servers() as running:
        ports = [running.start(handler).port for handler, _ in LATE.values()]
        lanes = [lane(at, port, rate_hz=5) for at, port in enumerate(ports)]
        lanes += [lane(100, ports[0], "pinned", rate_hz=1), lane(101, running.start(s.saying(s.answer())).port)]
        folder = tmp_path_factory.mktemp("late")
        with metering(plan(folder, lanes=lanes, deadline_ms=DEADLINE_MS, follow_ms=FOLLOW_MS)) as run:
            run.until(lambda: all(len(run.late(at)) >= 5 for at in range(len(LATE))))
            run.until(lambda: run.live[-1]["following"])
            run.stop()
            yield run


@pytest.mark.parametrize("name", LATE)
def test_a_late_slot_is_bad_at_its_deadline_and_its_real_end_is_told_beside(followed, name):
    at = list(LATE).index(name)
    bad = {slot.slot: slot for slot in followed.slots(at) if slot.outcome == Outcome.READ_TIMEOUT}
    ends = {slot.slot: slot for slot in followed.late(at)}

    assert set(ends) == set(bad)
    assert {slot.latency_ns for slot in bad.values()} == {DEADLINE_MS * 1_000_000}
    told = [slot for slot in ends.values() if slot.outcome != Outcome.UNKNOWN]
    assert len(told) >= 5
    assert {Outcome(slot.outcome) for slot in told} == {LATE[name][1]}
    for end in told:
        assert (end.intended, end.sent, end.connected) == (
            bad[end.slot].intended,
            bad[end.slot].sent,
            bad[end.slot].connected,
        )
        if name in ("hangs", "begins-only"):
            assert end.latency_ns == FOLLOW_MS * 1_000_000
        else:
            assert end.done - end.sent >= THEN_S * 1e9
            assert end.latency_ns < FOLLOW_MS * 1_000_000
    # The end of the run cuts short what is still followed.
    assert all(slot.done == 0 for slot in ends.values() if slot.outcome == Outcome.UNKNOWN)


def test_only_fresh_lanes_follow_and_only_what_was_late(followed):
    assert Outcome.READ_TIMEOUT in followed.outcomes(100)
    assert followed.late(100) == []
    late = [slot.slot for slot in followed.slots(101) if slot.outcome == Outcome.READ_TIMEOUT]
    assert [slot.slot for slot in followed.late(101)] == late


def test_what_is_followed_at_the_stop_is_unknown(servers, tmp_path):
    server = servers.start(s.hangs)
    with metering(plan(tmp_path, lanes=[lane(0, server.port)], deadline_ms=100)) as run:
        run.until(lambda: run.live and run.live[-1]["following"] >= 3)
        run.stop()

    assert {(slot.outcome, slot.done) for slot in run.late()} == {(Outcome.UNKNOWN, 0)}
    assert [slot.slot for slot in run.late()] == [
        slot.slot for slot in run.slots() if slot.outcome == Outcome.READ_TIMEOUT
    ]


def test_no_more_are_followed_than_there_is_room_for_and_the_rest_is_counted(servers, tmp_path):
    server = servers.start(s.hangs)
    small = "import sys\nfrom harness.probes import late, meter\nlate.MOST = 5\nsys.exit(meter.main())"
    row = plan(tmp_path, lanes=[lane(0, server.port, rate_hz=50)], deadline_ms=100)
    with metering(row, command=("-c", small)) as run:
        run.until(lambda: sum(check.get("not_followed", 0) for check in run.checks()) >= 5)
        run.stop()

    late_slots = [slot for slot in run.slots() if slot.outcome == Outcome.READ_TIMEOUT]
    assert max(line["following"] for line in run.live) == len(run.late()) == 5
    assert sum(check.get("not_followed", 0) for check in run.checks()) == len(late_slots) - 5


def test_following_can_be_off(servers, tmp_path):
    server = servers.start(s.slow(0.3))
    with metering(plan(tmp_path, lanes=[lane(0, server.port)], deadline_ms=100, follow_ms=0)) as run:
        run.until(lambda: Outcome.READ_TIMEOUT in run.outcomes(0))
        run.stop()
    assert run.late() == []


@pytest.mark.parametrize("mode", ["fresh", "pinned"])
def test_each_phase_has_a_limit_of_its_own(servers, tmp_path, mode):
    ports = [servers.start(handler).port for handler in (s.hangs, begins_only, s.slow(0.05))]
    timeouts = {"connect_ms": LIMIT_MS, "first_byte_ms": LIMIT_MS}
    with no_room() as full:
        lanes = [lane(at, port, mode, rate_hz=5) for at, port in enumerate([*ports, full])]
        with metering(plan(tmp_path, lanes=lanes, deadline_ms=600, timeouts=timeouts, follow_ms=0)) as run:
            run.until_slots(3)
            run.stop()

    hangs, begins, fine, dials = ([t for t in run.slots(at) if t.outcome != Outcome.UNKNOWN] for at in range(4))
    limit = LIMIT_MS * 1_000_000
    assert {slot.outcome for slot in hangs} == {Outcome.READ_TIMEOUT}
    assert all(limit <= slot.done - slot.connected <= 2 * limit for slot in hangs)
    assert {(slot.outcome, slot.latency_ns) for slot in begins if slot.sent} == {(Outcome.READ_TIMEOUT, 600_000_000)}
    assert {slot.outcome for slot in fine} == {Outcome.OK}
    assert {(slot.outcome, slot.done - slot.sent) for slot in dials} == {(Outcome.CONNECT_TIMEOUT, limit)}
