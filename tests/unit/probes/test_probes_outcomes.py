"""Every way a server can misbehave has its outcome class, in both modes."""

from __future__ import annotations

import contextlib
import socket
from itertools import pairwise

import probe_servers as s
import pytest
from probe_metering import lane, metering, plan

from harness.records import REDIALLED, Outcome

HTML = b"<html>welcome</html>"
SIGNED_OUT = b'{"message":"You are signed out or your session has expired. Please sign in again to continue."}'
NO_DATABASE = b'{"message":"An internal error occurred.","detail":"Internal error fetching API key by id."}'
CHUNKS = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nOKOKOK\r\n0\r\n\r\n"
DEADLINE_MS = 1500
BEHAVIOURS = {
    "ok": (s.saying(s.answer()), Outcome.OK),
    "ok-then-closes": (s.saying(s.answer(b"OK", "200 OK", "Connection: close"), close=True), Outcome.OK),
    "resets-at-once": (s.resets_at_once, Outcome.RESET),
    "resets-after-request": (s.resets_after_request, Outcome.RESET),
    "closes": (s.closes_after_request, Outcome.CLOSED),
    "half": (s.saying(s.answer(b"OK" * 50)[:-20], close=True), Outcome.CLOSED),
    "half-head": (s.saying(s.answer()[:30], close=True), Outcome.CLOSED),
    "html": (s.saying(s.answer(HTML)), Outcome.WRONG_BODY),
    "no-http": (s.saying(HTML), Outcome.MALFORMED),
    "garbage": (s.saying(bytes(range(256))), Outcome.MALFORMED),
    "500": (s.saying(s.answer(status="500 Oops")), Outcome.SERVER_ERROR),
    "502": (s.saying(s.answer(status="502 Bad Gateway")), Outcome.SERVER_ERROR),
    "404": (s.saying(s.answer(status="404 Not Found")), Outcome.OTHER_STATUS),
    "login": (s.saying(s.answer(b"", "302 Found", "Location: /login?redirect=%2F")), Outcome.OTHER_STATUS),
    "429": (s.saying(s.answer(status="429 Too Many Requests")), Outcome.RATE_LIMITED),
    "401": (s.saying(s.answer(SIGNED_OUT, "401 Unauthorized")), Outcome.UNAUTHORIZED),
    "401-of-old-builds": (s.saying(s.answer(NO_DATABASE, "401 Unauthorized")), Outcome.OTHER_STATUS),
    "page": (s.saying(s.answer(b"<html>OK</html>", "200 OK", "Content-Type: text/html")), Outcome.WRONG_BODY),
    "cut-in-a-chunk": (s.saying(CHUNKS[:-9], close=True), Outcome.CLOSED),
    "floods": (s.floods, Outcome.WRONG_BODY),
    "floods-headers": (s.floods_headers, Outcome.MALFORMED),
    "hangs": (s.hangs, Outcome.READ_TIMEOUT),
    "trickles": (s.trickles, Outcome.READ_TIMEOUT),
    "never-ends": (s.saying(s.answer(b"OK" * 50)[:-20]), Outcome.READ_TIMEOUT),
}
MODES = ("fresh", "pinned")
CASES = [*BEHAVIOURS, "refuses", "silent-dial"]


@contextlib.contextmanager
def no_room():
    """A port whose queue is full: dials get no answer at all."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]


@contextlib.contextmanager
def closed_port():
    """A port that is taken and on which nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    with s.servers() as running, closed_port() as closed, no_room() as full:
        started = {name: running.start(handler) for name, (handler, _) in BEHAVIOURS.items()}
        ports = {**{name: server.port for name, server in started.items()}, "refuses": closed, "silent-dial": full}
        lanes = [
            lane(
                2 * at + kind,
                ports[name],
                mode,
                rate_hz=2 if name.startswith("floods") else 5,
                expect_body="OK",
                expect_type="application/json" if name == "page" else None,
            )
            for at, name in enumerate(CASES)
            for kind, mode in enumerate(MODES)
        ]
        folder = tmp_path_factory.mktemp("outcomes")
        with metering(plan(folder, lanes=lanes, deadline_ms=DEADLINE_MS)) as run:
            run.until_slots(2)
            run.stop()
            yield run


def slots_of(run, name, mode):
    return run.slots(2 * CASES.index(name) + MODES.index(mode))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("name", "outcome"),
    [
        *((name, outcome) for name, (_, outcome) in BEHAVIOURS.items()),
        ("refuses", Outcome.REFUSED),
        ("silent-dial", Outcome.CONNECT_TIMEOUT),
    ],
)
def test_each_slot_has_the_class_of_its_servers_fault(measured, name, outcome, mode):
    slots = slots_of(measured, name, mode)

    assert [slot.slot for slot in slots] == list(range(len(slots)))
    # What the end of the run cut short is unknown, and only that.
    assert {Outcome(slot.outcome) for slot in slots} - {Outcome.UNKNOWN} == {outcome}
    assert [slot.outcome for slot in slots[:2]] == [outcome] * 2


@pytest.mark.parametrize("mode", MODES)
def test_stamps_are_in_order_and_deadlines_exact(measured, mode):
    for name in CASES:
        for slot in slots_of(measured, name, mode):
            reached = [stamp for stamp in (slot.sent, slot.connected, slot.first, slot.done) if stamp]
            assert reached == sorted(reached)
            if slot.outcome in (Outcome.READ_TIMEOUT, Outcome.CONNECT_TIMEOUT):
                assert slot.latency_ns == DEADLINE_MS * 1_000_000
                assert (slot.connected == 0) == (slot.outcome == Outcome.CONNECT_TIMEOUT)


@pytest.mark.parametrize("mode", MODES)
def test_answers_carry_status_and_upstream(measured, mode):
    assert {(slot.status, slot.upstream) for slot in slots_of(measured, "ok", mode)} == {(200, s.UPSTREAM_PORT)}
    assert {slot.status for slot in slots_of(measured, "502", mode)} == {502}


def test_slots_are_intended_at_exact_distances(measured):
    for case in CASES:
        intended = [slot.intended for slot in slots_of(measured, case, "fresh")]
        distance = 500_000_000 if case.startswith("floods") else 200_000_000
        assert {after - before for before, after in pairwise(intended)} == {distance}


def test_only_new_connections_after_the_first_are_flagged(measured):
    assert {slot.flags for slot in slots_of(measured, "ok", "pinned")} == {0}
    flags = [slot.flags for slot in slots_of(measured, "ok-then-closes", "pinned")]
    assert flags == [0] + [REDIALLED] * (len(flags) - 1)
    assert {slot.flags for slot in slots_of(measured, "refuses", "pinned")} == {0}
    assert {slot.flags for slot in slots_of(measured, "ok-then-closes", "fresh")} == {0}


def test_what_our_own_rate_did_is_told_apart_from_what_is_bad(measured):
    final = measured.lines[-1]["lanes"]
    for mode in MODES:
        good, bad, undecided = final[str(2 * CASES.index("429") + MODES.index(mode))]
        assert (good, bad) == (0, 0)
        assert undecided >= 2


@pytest.mark.parametrize("mode", MODES)
def test_a_token_that_expires_is_unauthorized_from_then_on(servers, tmp_path, mode):
    async def handle(server, reader, writer):
        while True:
            await server.request(reader)
            writer.write(s.answer() if server.requests <= 3 else s.answer(SIGNED_OUT, "401 Unauthorized"))

    server = servers.start(handle)
    with metering(plan(tmp_path, lanes=[lane(0, server.port, mode)])) as run:
        run.until_slots(6)
        run.stop()
        slots = run.slots(0)

    assert {slot.outcome for slot in slots[:3]} == {Outcome.OK}
    assert {(slot.outcome, slot.status) for slot in slots[3:]} == {(Outcome.UNAUTHORIZED, 401)}
    assert run.lines[-1]["lanes"]["0"] == [3, len(slots) - 3, 0]
