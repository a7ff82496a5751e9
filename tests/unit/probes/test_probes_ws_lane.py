"""A lane that is one WebSocket: each way an echo, an upgrade or the line itself can go wrong has its class."""

from __future__ import annotations

import asyncio
import contextlib
from itertools import pairwise
from typing import TYPE_CHECKING

import probe_servers as s
import pytest
from probe_metering import lane, metering, plan
from test_probes_outcomes import closed_port, no_room

from harness.records import REDIALLED, Outcome

if TYPE_CHECKING:
    from collections.abc import Callable

DEADLINE_MS = 500
UPSTREAM = f"X-Chaos-Upstream: 10.0.0.9:{s.UPSTREAM_PORT}"
INTERNAL = b'{"message":"An internal error occurred.","detail":"Internal error fetching API key by id."}'


def echoing(act: Callable[[s.Session, bytes, int], None], *, pings: bool = False) -> s.Handler:
    """Do something with each message; `act` gets its number on this line, from 0."""

    async def script(session: s.Session) -> None:
        count = 0

        def on_text(message: bytes) -> None:
            nonlocal count
            act(session, message, count)
            count += 1

        session.on_text = on_text
        while pings:
            session.core.send_ping(b"there?")
            session.flush()
            await asyncio.sleep(0.05)
        await asyncio.Event().wait()

    return s.watching(script)


def echo(session: s.Session, message: bytes, _: int = 0) -> None:
    session.text(message.decode())


def in_parts(session: s.Session, message: bytes, _: int) -> None:
    session.core.send_text(message[:3], fin=False)
    session.core.send_ping(b"between")
    session.core.send_continuation(message[3:], fin=True)


def as_bytes(session: s.Session, message: bytes, _: int) -> None:
    session.core.send_binary(message)


def wrong(session: s.Session, message: bytes, _: int) -> None:
    session.text(message.decode() + "!")


def doubled_once(session: s.Session, message: bytes, number: int) -> None:
    echo(session, message)
    if number == 0:
        echo(session, message)


def doubled(session: s.Session, message: bytes, _: int) -> None:
    echo(session, message)
    echo(session, message)


def mute(_: s.Session, __: bytes, ___: int) -> None:
    pass


def on_second(act: Callable[[s.Session], None]) -> Callable[[s.Session, bytes, int], None]:
    def either(session: s.Session, message: bytes, number: int) -> None:
        act(session) if number == 1 else echo(session, message)

    return either


def after_each(act: Callable[[s.Session], None]) -> Callable[[s.Session, bytes, int], None]:
    def both(session: s.Session, message: bytes, _: int) -> None:
        echo(session, message)
        act(session)

    return both


def third_is_slow(session: s.Session, message: bytes, number: int) -> None:
    delay_s = 0.7 if number % 3 == 2 else 0
    asyncio.get_running_loop().call_later(delay_s, echo, session, message)


def ends(session: s.Session) -> None:
    session.writer.close()


def cuts_a_frame(session: s.Session) -> None:
    session.writer.write(b"\x81\x20chaos")
    session.writer.close()


def says_garbage(session: s.Session) -> None:
    session.writer.write(b"\xff" * 64)


def says_too_much(session: s.Session) -> None:
    session.text("x" * ((1 << 20) + 1))


def closes(session: s.Session) -> None:
    session.core.send_close(1011, "no luck")


def upgrade(accept: str) -> bytes:
    head = f"HTTP/1.1 101 Go\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}"
    return f"{head}\r\n{UPSTREAM}\r\n\r\n".encode()


OK, TIMEOUT = [Outcome.OK], [Outcome.READ_TIMEOUT]
# name: (handler, outcomes in turn, whether a slot redials after the first time through them)
CASES = {
    "echo": (echoing(echo), OK, False),
    "pings": (echoing(echo, pings=True), OK, False),
    "in-parts": (echoing(in_parts), OK, False),
    "as-bytes": (echoing(as_bytes), [Outcome.WRONG_BODY], False),
    "wrong": (echoing(wrong), [Outcome.WRONG_BODY], False),
    "mute": (echoing(mute), TIMEOUT, True),
    "mute-but-alive": (echoing(mute, pings=True), TIMEOUT, False),
    "third-is-slow": (echoing(third_is_slow), [Outcome.OK, Outcome.OK, Outcome.READ_TIMEOUT], False),
    "ends": (echoing(on_second(ends)), [Outcome.OK, Outcome.CLOSED], True),
    "cut-in-a-frame": (echoing(on_second(cuts_a_frame)), [Outcome.OK, Outcome.CLOSED], True),
    "resets": (echoing(on_second(lambda session: s.reset(session.writer))), [Outcome.OK, Outcome.RESET], True),
    "closes": (echoing(on_second(closes)), [Outcome.OK, Outcome.CLOSED], True),
    "garbage": (echoing(on_second(says_garbage)), [Outcome.OK, Outcome.MALFORMED], True),
    "too-much": (echoing(on_second(says_too_much)), [Outcome.OK, Outcome.WRONG_BODY], True),
    "ends-between": (echoing(after_each(ends)), OK, True),
    "closes-between": (echoing(after_each(closes)), OK, True),
    "502": (s.saying(s.answer(b"oops", "502 Bad Gateway")), [Outcome.SERVER_ERROR], False),
    "502-to-the-end": (s.saying(b"HTTP/1.1 502 Bad\r\n\r\noops", close=True), [Outcome.SERVER_ERROR], False),
    "404": (s.saying(s.answer(b"", "404 Not Found")), [Outcome.OTHER_STATUS], False),
    "200": (s.saying(s.answer()), [Outcome.OTHER_STATUS], False),
    "302": (s.saying(s.answer(b"", "302 Found", "Location: /login")), [Outcome.OTHER_STATUS], False),
    "429": (s.saying(s.answer(b"", "429 Too Many Requests")), [Outcome.RATE_LIMITED], False),
    "401": (s.saying(s.answer(b"{}", "401 Unauthorized")), [Outcome.UNAUTHORIZED], False),
    "401-of-old-builds": (s.saying(s.answer(INTERNAL, "401 Unauthorized")), [Outcome.OTHER_STATUS], False),
    "twice-upstream": (s.saying(s.answer(b"", "502 Bad", UPSTREAM, UPSTREAM)), [Outcome.SERVER_ERROR], False),
    "html": (s.saying(b"<html>\r\n\r\n"), [Outcome.MALFORMED], False),
    "wrong-key": (s.saying(upgrade("x")), [Outcome.WRONG_BODY], False),
    "closes-at-upgrade": (s.closes_after_request, [Outcome.CLOSED], False),
    "resets-at-upgrade": (s.resets_after_request, [Outcome.RESET], False),
    "hangs": (s.hangs, TIMEOUT, False),
}
DEAF = {"refuses": Outcome.REFUSED, "silent-dial": Outcome.CONNECT_TIMEOUT}
NAMES = [*CASES, *DEAF]
KEPT = ("echo", "pings", "in-parts", "as-bytes", "wrong", "mute-but-alive", "third-is-slow")


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    with contextlib.ExitStack() as stack:
        running = stack.enter_context(s.servers())
        started = {name: running.start(handler) for name, (handler, _, _) in CASES.items()}
        ports = {name: server.port for name, server in started.items()}
        ports |= {"refuses": stack.enter_context(closed_port()), "silent-dial": stack.enter_context(no_room())}
        # One slot at a time, but for those that are slow: they overlap with the next.
        lanes = [lane(at, ports[name], "ws", rate_hz=5 if "slow" in name else 1.9) for at, name in enumerate(NAMES)]
        with metering(plan(tmp_path_factory.mktemp("ws"), lanes=lanes, deadline_ms=DEADLINE_MS)) as run:
            run.until_slots(5)
            run.stop()
            yield run, started


@pytest.mark.parametrize("name", CASES)
def test_each_slot_has_the_class_of_what_its_server_did(measured, name):
    run, started = measured
    slots = [slot for slot in run.slots(NAMES.index(name)) if slot.outcome != Outcome.UNKNOWN]
    _, cycle, redials = CASES[name]

    assert len(slots) >= 4
    assert [Outcome(slot.outcome) for slot in slots] == [cycle[n % len(cycle)] for n in range(len(slots))]
    dials = [n > 0 and n % len(cycle) == 0 and redials for n in range(len(slots))]
    assert [slot.flags for slot in slots] == [REDIALLED if dial else 0 for dial in dials]
    for slot in slots:
        reached = [stamp for stamp in (slot.sent, slot.connected, slot.first, slot.done) if stamp]
        assert reached == sorted(reached)
        assert slot.outcome != Outcome.READ_TIMEOUT or slot.latency_ns == DEADLINE_MS * 1_000_000
    if name in KEPT:
        assert started[name].connections == 1


@pytest.mark.parametrize("name", DEAF)
def test_a_dial_that_fails_is_its_slots_own_failure(measured, name):
    run, _ = measured
    outcomes = run.outcomes(NAMES.index(name))
    assert outcomes[:4] == [DEAF[name]] * 4


def test_slots_carry_status_and_upstream_of_their_line(measured):
    run, _ = measured

    def told(name: str) -> set[tuple[int, int]]:
        return {
            (slot.status, slot.upstream) for slot in run.slots(NAMES.index(name)) if slot.outcome != Outcome.UNKNOWN
        }

    assert told("echo") == {(101, s.UPSTREAM_PORT)}
    assert told("502") == told("twice-upstream") == {(502, s.UPSTREAM_PORT)}
    assert told("refuses") == {(0, 0)}


def test_pings_are_answered(measured):
    _, started = measured
    assert started["pings"].pongs > 5


@pytest.mark.parametrize("name", ["doubled", "doubled-once"])
def test_a_doubled_echo_costs_the_next_slot_if_none_is_in_flight(servers, tmp_path, name):
    server = servers.start(echoing(doubled if name == "doubled" else doubled_once))
    with metering(plan(tmp_path, lanes=[lane(0, server.port, "ws", rate_hz=10)])) as run:
        run.until_slots(5)
        run.stop()

    after = Outcome.WRONG_BODY if name == "doubled" else Outcome.OK
    assert run.outcomes(0)[:5] == [Outcome.OK, Outcome.WRONG_BODY, *[after] * 3]
    assert server.connections == 1


def test_slots_that_overlap_are_all_in_flight_on_the_one_line(servers, tmp_path):
    def slow(session: s.Session, message: bytes, number: int) -> None:
        # Every other one overtakes the one before it.
        asyncio.get_running_loop().call_later(0.3 if number % 2 else 0.4, echo, session, message)

    server = servers.start(echoing(slow))
    with metering(plan(tmp_path, lanes=[lane(0, server.port, "ws", rate_hz=50)])) as run:
        run.until_slots(30)
        run.stop()
        slots = run.slots(0)

    assert {Outcome(slot.outcome) for slot in slots} == {Outcome.OK}
    assert all(slot.done - slot.sent >= 300_000_000 for slot in slots)
    assert any(later.done < slot.done for slot, later in pairwise(slots))
    assert server.connections == 1


def test_a_lost_line_ends_all_that_is_in_flight_and_nothing_else(servers, tmp_path):
    def fourth_resets(session: s.Session, message: bytes, number: int) -> None:
        if number == 3:
            s.reset(session.writer)
        elif number == 0:
            echo(session, message)

    server = servers.start(echoing(fourth_resets))
    with metering(plan(tmp_path, lanes=[lane(0, server.port, "ws", rate_hz=20)])) as run:
        run.until_slots(8)
        run.stop()
        slots = [slot for slot in run.slots(0) if slot.outcome != Outcome.UNKNOWN]

    turn = [Outcome.OK, Outcome.RESET, Outcome.RESET, Outcome.RESET]
    assert [slot.outcome for slot in slots[:8]] == turn * 2
    assert [slot.flags for slot in slots[:8]] == [0, 0, 0, 0, REDIALLED, 0, 0, 0]
    assert max(slot.done for slot in slots[1:4]) <= slots[4].sent


def test_who_waits_for_a_dial_is_sent_when_it_is_through(servers, tmp_path):
    async def late_accept(server, reader, writer):
        await server.thaw.wait()
        await echoing(echo)(server, reader, writer)

    server = servers.start(late_accept)
    server.thaw.clear()
    with metering(plan(tmp_path, lanes=[lane(0, server.port, "ws", rate_hz=20)])) as run:
        run.until(lambda: server.connections)
        run.until(lambda: len(run.live) >= 2)
        servers.call(server.thaw.set)
        run.until_slots(5)
        run.stop()
        slots = run.slots(0)

    assert {Outcome(slot.outcome) for slot in slots} == {Outcome.OK}
    waited = [slot for slot in slots if slot.slot and slot.sent - slot.intended > 60_000_000]
    assert waited
    assert all(slot.connected == slot.sent > slots[0].first > 0 for slot in waited)
    assert server.connections == 1
