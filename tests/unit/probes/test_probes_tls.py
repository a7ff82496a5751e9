"""Lanes under TLS: what a certificate, a handshake and the end of a stream may do, each with its class."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import probe_servers as s
import pytest
import trustme
from probe_metering import lane, metering, plan
from test_probes_ws_lane import echo, echoing

from harness.errors import UsageError
from harness.probes.tls import TlsPlan, prepare_tls
from harness.records import Outcome

if TYPE_CHECKING:
    from pathlib import Path

DEADLINE_MS = 1500
HANDSHAKE_MS = 800
PATIENT_MS = 8000
"""Deadline where the server answers. On a busy machine a handshake takes its time."""
SELDOM_HZ = 0.6
"""So that a slot does not wait for a line the one before it holds, nor a server's end of a line come after the next slot."""
UNFRAMED = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nOK"


async def ends_without_saying_so(server, reader, writer):
    """Say an answer without a length, then cut TCP under TLS."""
    await server.request(reader)
    writer.write(UNFRAMED)
    await writer.drain()
    writer.get_extra_info("socket").shutdown(1)
    await s.until_gone(reader)


async def ends_after_the_first(server, reader, writer):
    await server.request(reader)
    writer.write(s.answer())


async def speaks_http(server, reader, writer):
    await reader.read(65536)
    writer.write(s.answer(b"Client sent an HTTP request to an HTTPS server", "400 Bad Request"))
    await s.until_gone(reader)


async def closes_in_handshake(server, reader, writer):
    await reader.read(65536)  # what is not read would turn the end into a reset


async def slow_handshake(server, reader, writer):
    """Read the client's first words and say half of an answer to them."""
    await reader.read(1)
    writer.write(b"\x16\x03\x03\x00\x7a")
    await s.until_gone(reader)


# name: (certificate or None for no TLS, handler, tls of the plan, outcome)
CASES = {
    "good": ("good", s.saying(s.answer()), {}, Outcome.OK),
    "good-by-name": ("named", s.saying(s.answer()), {"server_name": "coder.test"}, Outcome.OK),
    "closes": ("good", s.saying(s.answer(b"OK", "200 OK", "Connection: close"), close=True), {}, Outcome.OK),
    "ends-after-the-first": ("good", ends_after_the_first, {}, Outcome.OK),
    "unframed": ("good", s.saying(UNFRAMED, close=True), {}, Outcome.OK),
    "unframed-and-cut": ("good", ends_without_saying_so, {}, Outcome.CLOSED),
    "half": ("good", s.saying(s.answer(b"OK" * 50)[:-20], close=True), {}, Outcome.CLOSED),
    "resets-after-request": ("good", s.resets_after_request, {}, Outcome.RESET),
    "hangs-secured": ("good", s.hangs, {}, Outcome.READ_TIMEOUT),
    "floods": ("good", s.floods, {}, Outcome.WRONG_BODY),
    "self-signed": ("stranger", s.saying(s.answer()), {}, Outcome.TLS_ERROR),
    "self-signed-unverified": ("stranger", s.saying(s.answer()), {"verify": False, "ca": None}, Outcome.OK),
    "wrong-name": ("named", s.saying(s.answer()), {}, Outcome.TLS_ERROR),
    "expired": ("expired", s.saying(s.answer()), {}, Outcome.TLS_ERROR),
    "speaks-http": (None, speaks_http, {}, Outcome.TLS_ERROR),
    "never-shakes": (None, s.hangs, {}, Outcome.TLS_TIMEOUT),
    "half-shakes": (None, slow_handshake, {}, Outcome.TLS_TIMEOUT),
    "closes-in-handshake": (None, closes_in_handshake, {}, Outcome.CLOSED),
    "resets-in-handshake": (None, s.resets_at_once, {}, Outcome.RESET),
}
HANGS = ("hangs-secured", "never-shakes", "half-shakes")
MODES = ("fresh", "pinned")


@pytest.fixture(scope="module")
def ca():
    return trustme.CA()


@pytest.fixture(scope="module")
def ca_file(ca, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("ca") / "ca.pem"
    ca.cert_pem.write_to_path(str(path))
    return path


@pytest.fixture(scope="module")
def contexts(ca):
    yesterday = datetime.now(UTC) - timedelta(days=1)
    issued = {
        "good": ca.issue_cert("127.0.0.1"),
        "named": ca.issue_cert("coder.test"),
        "expired": ca.issue_cert("127.0.0.1", not_before=yesterday - timedelta(days=9), not_after=yesterday),
        "stranger": trustme.CA().issue_cert("127.0.0.1"),
    }
    found = {}
    for name, certificate in issued.items():
        found[name] = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        certificate.configure_cert(found[name])
    return found


@pytest.fixture(scope="module")
def measured(contexts, ca_file, tmp_path_factory):
    with s.servers() as running:
        lanes = {True: [], False: []}
        for at, (name, (certificate, handler, tls, _)) in enumerate(CASES.items()):
            server = running.start(handler, contexts.get(certificate))
            tls_row = {"ca": str(ca_file), **tls}
            lanes[name in HANGS] += [
                lane(2 * at + k, server.port, mode, rate_hz=SELDOM_HZ, tls=tls_row) for k, mode in enumerate(MODES)
            ]
        folders = [tmp_path_factory.mktemp("tls") for _ in range(2)]
        patient = plan(folders[0], lanes=lanes[False], deadline_ms=PATIENT_MS, follow_ms=0)
        strict = plan(folders[1], lanes=lanes[True], deadline_ms=DEADLINE_MS, follow_ms=0)
        with metering(patient) as answers, metering({**strict, "timeouts": {"tls_ms": HANDSHAKE_MS}}) as hangs:
            for run in (answers, hangs):
                run.until_slots(2)
                run.stop()
            yield lambda at: (answers if answers.slots(at) else hangs).slots(at)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", CASES)
def test_each_slot_has_the_class_of_its_servers_fault(measured, name, mode):
    slots = measured(2 * list(CASES).index(name) + MODES.index(mode))
    outcome = CASES[name][3]

    assert {Outcome(slot.outcome) for slot in slots} - {Outcome.UNKNOWN} == {outcome}
    assert [slot.outcome for slot in slots[:2]] == [outcome] * 2
    for slot in slots[:2]:
        reached = [stamp for stamp in (slot.sent, slot.connected, slot.first, slot.done) if stamp]
        assert reached == sorted(reached)
        if outcome not in (Outcome.READ_TIMEOUT, Outcome.RESET):  # a reset may overtake the news of the connection
            assert slot.connected > 0
        if outcome == Outcome.TLS_TIMEOUT:
            assert slot.done - slot.connected == HANDSHAKE_MS * 1_000_000


def test_a_kept_line_stays_and_its_idle_end_hurts_nobody(measured):
    def flags(name: str) -> list[int]:
        return [slot.flags for slot in measured(2 * list(CASES).index(name) + 1)]

    assert set(flags("good")) == {0}
    assert flags("ends-after-the-first") == [0] + [1] * (len(flags("ends-after-the-first")) - 1)


def test_without_a_limit_of_its_own_a_handshake_has_until_the_deadline(servers, ca_file, tmp_path):
    server = servers.start(s.hangs)
    lanes = [lane(0, server.port, rate_hz=5, tls={"ca": str(ca_file)})]
    with metering(plan(tmp_path, lanes=lanes, deadline_ms=300)) as run:
        run.until_slots(2)
        run.stop()
    decided = [slot for slot in run.slots(0) if slot.outcome != Outcome.UNKNOWN]
    assert {(Outcome(slot.outcome), slot.latency_ns) for slot in decided} == {(Outcome.TLS_TIMEOUT, 300_000_000)}
    assert run.late() == []


@pytest.mark.parametrize(
    ("tls", "text"),
    [
        (TlsPlan(ca="/nowhere/ca.pem"), "plan: tls.ca cannot be read: /nowhere/ca.pem: No such file or directory"),
        (TlsPlan(ca=__file__), f"plan: tls.ca has no PEM certificate in it: {__file__}"),
        (TlsPlan(server_name=".x"), "plan: tls.server_name must be a host name or address, saw '.x'"),
    ],
)
def test_what_cannot_be_trusted_is_said_before_anything_is_dialled(tls, text):
    with pytest.raises(UsageError) as caught:
        prepare_tls(tls, "127.0.0.1")
    assert str(caught.value) == text


def test_a_websocket_under_tls(servers, contexts, ca_file, tmp_path):
    tls = {"ca": str(ca_file)}
    ports = [
        servers.start(echoing(echo), contexts["good"]).port,
        servers.start(echoing(echo), contexts["expired"]).port,
        servers.start(s.hangs).port,
    ]
    lanes = [lane(at, port, "ws", rate_hz=2, tls=tls) for at, port in enumerate(ports)]
    with metering(plan(tmp_path, lanes=lanes, deadline_ms=400)) as run:
        run.until_slots(2)
        run.stop()

    for at, outcome in enumerate((Outcome.OK, Outcome.TLS_ERROR, Outcome.TLS_TIMEOUT)):
        assert set(run.outcomes(at)) - {Outcome.UNKNOWN} == {outcome}
