"""Each way a watch session can end, or fail to begin, leaves its rows in the ledger."""

from __future__ import annotations

import asyncio
import re
import time
from itertools import pairwise
from pathlib import Path

import probe_servers as s
import pytest
from probe_metering import metering, plan, watcher
from test_probes_outcomes import closed_port, no_room
from websockets.frames import Frame, Opcode
from websockets.utils import accept_key

from harness.probes.kinds.watch import read_frame
from harness.probes.session_dial import Upgrade
from harness.upstreams import Upstreams

BUILD = {"build_number": 1, "build_status": "running", "updated_at": "2026-01-02T03:04:05Z"}


def evs(rows: list[dict]) -> list[str]:
    return [row["ev"] for row in rows]


def facts(row: dict) -> dict:
    return {key: value for key, value in row.items() if key not in ("t_ns", "session", "policy", "kind", "last_ns")}


async def forever() -> None:
    await asyncio.Event().wait()


async def greets(session: s.Session) -> None:
    session.text(s.PING)
    session.text(s.snapshot())


async def stays(session: s.Session) -> None:
    await greets(session)
    await forever()


async def never_first(session: s.Session) -> None:
    session.text(s.PING)
    await forever()


async def resets(session: s.Session) -> None:
    await greets(session)
    await session.writer.drain()
    await asyncio.sleep(0.02)  # a reset overtakes what was not read yet
    s.reset(session.writer)


async def ends(session: s.Session) -> None:
    await greets(session)


def closes(code: int) -> object:
    async def act(session: s.Session) -> None:
        await greets(session)
        session.core.send_close(code, "going")
        session.flush()
        await forever()

    return act


async def goes_deaf(session: s.Session) -> None:
    session.deaf = True
    await stays(session)


async def speaks_garbage(session: s.Session) -> None:
    await greets(session)
    session.writer.write(b"\xff" * 64)
    await forever()


async def speaks_too_long(session: s.Session) -> None:
    await greets(session)
    session.text("x" * (1 << 20) + "x")
    await forever()


async def ends_inside_a_frame(session: s.Session) -> None:
    await greets(session)
    session.writer.write(Frame(Opcode.TEXT, b"x" * 200).serialize(mask=False)[:50])


async def sends_100_mb(session: s.Session) -> None:
    await greets(session)
    session.writer.write(bytes([0x81, 127]) + (100 << 20).to_bytes(8, "big"))
    await pours(session, b"x" * 65_536)


async def sends_100_mb_in_parts(session: s.Session) -> None:
    await greets(session)
    session.writer.write(Frame(Opcode.TEXT, b"", fin=False).serialize(mask=False))
    await pours(session, Frame(Opcode.CONT, b"x" * 65_500, fin=False).serialize(mask=False))


async def floods_with_nothing(session: s.Session) -> None:
    await greets(session)
    await pours(session, Frame(Opcode.TEXT, b"").serialize(mask=False) * 30_000)


async def floods_with_pings_and_never_reads(session: s.Session) -> None:
    session.deaf = True
    await greets(session)
    await pours(session, Frame(Opcode.PING, b"p" * 125).serialize(mask=False) * 500)


async def pours(session: s.Session, data: bytes) -> None:
    for _ in range((100 << 20) // len(data) + 1):
        session.writer.write(data)
        await session.writer.drain()
    await forever()


DROPS = {
    "reset": (resets, {"cause": "reset", "code": None, "initiator": "server"}),
    "eof": (ends, {"cause": "eof", "code": None, "initiator": "server"}),
    "close-1000": (closes(1000), {"cause": "close", "code": 1000, "initiator": "server"}),
    "close-1001": (closes(1001), {"cause": "close", "code": 1001, "initiator": "server"}),
    "silent": (goes_deaf, {"cause": "silent", "code": None, "initiator": "client"}),
    "garbage": (speaks_garbage, {"cause": "close", "code": 1002, "initiator": "client"}),
    "too-long": (speaks_too_long, {"cause": "close", "code": 1009, "initiator": "client"}),
    "100-mb": (sends_100_mb, {"cause": "close", "code": 1009, "initiator": "client"}),
    "100-mb-in-parts": (sends_100_mb_in_parts, {"cause": "close", "code": 1009, "initiator": "client"}),
    "cut-frame": (ends_inside_a_frame, {"cause": "eof", "code": None, "initiator": "server"}),
    "flood": (floods_with_nothing, {"cause": "flood", "code": 1008, "initiator": "client"}),
    "ping-flood": (floods_with_pings_and_never_reads, {"cause": "flood", "code": 1008, "initiator": "client"}),
}
REFUSALS = {
    "502": (s.saying(s.answer(b"oops", "502 Bad Gateway")), "status:502"),
    "502-to-the-end": (s.saying(b"HTTP/1.1 502 Bad Gateway\r\n\r\noops", close=True), "status:502"),
    "200": (s.saying(s.answer()), "status:200"),
    "html": (s.saying(b"<html>\r\n\r\n"), "malformed"),
    "empty": (s.closes_after_request, "eof"),
    "reset": (s.resets_after_request, "reset"),
    "reset-at-once": (s.resets_at_once, "reset"),
    "302-and-silence": (s.saying(b"HTTP/1.1 302 Found\r\nLocation: /login\r\n\r\n"), "status:302"),
    "html-without-end": (s.saying(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n<html><body>"), "status:200"),
    "html-of-100-mb": (s.floods, "status:200"),
    "headers-without-end": (s.floods_headers, "malformed"),
    "no-http-and-silence": (s.saying(b"SSH-2.0-OpenSSH_9.2"), "malformed"),
    "http-1.0": (s.saying(b"HTTP/1.0 101 Go\r\n\r\n"), "malformed"),
    "half-a-head": (s.saying(b"HTTP/1.1 101 Swi", close=True), "eof"),
    "hangs": (s.hangs, "timeout"),
    "wrong-key": (
        s.saying(b"HTTP/1.1 101 Go\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: x\r\n\r\n"),
        "handshake",
    ),
}


@pytest.fixture(scope="module")
def dropped(tmp_path_factory):
    """All sessions that are dropped again and again, in one meter, until each was dropped three times."""
    with s.servers() as running:
        started = {name: running.start(s.watching(script)) for name, (script, _) in DROPS.items()}
        watchers = [
            # Only one of them is to be found silent: the pong of a server that pours comes late.
            watcher(name, server.port, ping_every_ms=50, ping_timeout_ms=150 if name == "silent" else 60_000)
            for name, server in started.items()
        ]
        with metering(plan(tmp_path_factory.mktemp("drops"), watchers=watchers)) as run:
            run.until_rows(
                lambda rows: all(
                    [row["session"] for row in rows if row["ev"] == "drop"].count(name) >= 3 for name in DROPS
                )
            )
            run.peak_kb = peak_kb(run.process.pid)
            run.stop()
            yield run


def peak_kb(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1])


def test_no_server_makes_the_meter_keep_what_it_sends(dropped):
    assert dropped.peak_kb < 100_000, "of several times 100 MB that were on offer"


@pytest.mark.parametrize("name", DROPS)
def test_a_drop_names_its_cause_and_is_dialled_again(dropped, name):
    everything = dropped.rows(name)
    rows = [row for row in everything if row["ev"] != "error"]
    cut = [at for at, row in enumerate(everything) if row["ev"] == "drop"]
    assert max(after - before for before, after in pairwise(cut)) < 6000, "a flood of nonsense is cut short"

    assert {row["policy"] for row in rows} == {"eager"}
    assert evs(rows)[:9] == ["dial", "open", "first", "drop"] * 2 + ["dial"]
    assert [facts(row) for row in rows[:4]] == [
        {"ev": "dial", "attempt": 1},
        {"ev": "open", "upstream": s.UPSTREAM_PORT},
        {"ev": "first", **BUILD},
        {"ev": "drop", **DROPS[name][1], "upstream": s.UPSTREAM_PORT},
    ]
    assert {row["kind"] for row in rows} == {"watch"}
    opened, first, drop = rows[1:4]
    assert opened["t_ns"] <= first["t_ns"] <= drop["last_ns"] <= drop["t_ns"]
    gaps = [after["t_ns"] - row["t_ns"] for row, after in pairwise(rows) if row["ev"] == "drop"]
    assert all(gap >= 49_000_000 for gap in gaps)
    assert {row["attempt"] for row in rows if row["ev"] == "dial"} == {1}
    assert [row["t_ns"] for row in rows] == sorted(row["t_ns"] for row in rows)


def test_silence_is_found_after_the_ping_and_its_timeout(dropped):
    rows = dropped.rows("silent")
    opened, drop = next(row for row in rows if row["ev"] == "open"), next(row for row in rows if row["ev"] == "drop")
    assert drop["t_ns"] - opened["t_ns"] >= 200_000_000


@pytest.fixture(scope="module")
def refused(tmp_path_factory):
    with s.servers() as running, closed_port() as closed, no_room() as full:
        ports = {name: running.start(handler).port for name, (handler, _) in REFUSALS.items()}
        ports |= {"closed": closed, "full": full}
        watchers = [watcher(name, port, dial_timeout_ms=150, redial_ms=20) for name, port in ports.items()]
        with metering(plan(tmp_path_factory.mktemp("refusals"), watchers=watchers)) as run:
            run.until_rows(
                lambda rows: all(
                    [row["session"] for row in rows if row["ev"] == "refused"].count(name) >= 3 for name in ports
                )
            )
            run.stop()
            yield run


@pytest.mark.parametrize(
    ("name", "why"),
    [*((name, why) for name, (_, why) in REFUSALS.items()), ("closed", "refused"), ("full", "timeout")],
)
def test_a_dial_that_fails_says_why_and_counts_on(refused, name, why):
    rows = refused.rows(name)

    assert evs(rows)[:6] == ["dial", "refused"] * 3
    assert {row["why"] for row in rows if row["ev"] == "refused"} == {why}
    attempts = [row["attempt"] for row in rows if row["ev"] == "dial"]
    assert attempts == list(range(1, len(attempts) + 1))


def test_a_healthy_session_lives_until_we_stop_it(servers, tmp_path):
    sessions: list[s.Session] = []

    async def act(session: s.Session) -> None:
        sessions.append(session)
        await greets(session)
        session.text(s.snapshot(2))
        session.text('{"type":"error","data":{"message":"no luck","detail":"database is down"}}')
        session.text("what?")
        session.core.send_text(s.snapshot(3).encode()[:20], fin=False)
        session.core.send_continuation(s.snapshot(3).encode()[20:], fin=True)
        session.flush()
        await forever()

    server = servers.start(s.watching(act))
    watchers = [watcher("good", server.port, ping_every_ms=30, ping_timeout_ms=2000, headers={"Host": "coder.test"})]
    with metering(plan(tmp_path, watchers=watchers)) as run:
        run.until(lambda: run.live and run.live[-1]["live"] == 1)
        settled = len(run.live)
        run.until(lambda: len(run.live) >= settled + 1)
        run.stop()
        rows = run.rows("good")

    assert [facts(row) for row in rows] == [
        {"ev": "dial", "attempt": 1},
        {"ev": "open", "upstream": s.UPSTREAM_PORT},
        {"ev": "first", **BUILD},
        {"ev": "event", **BUILD, "build_number": 2},
        {"ev": "error", "text": "no luck: database is down"},
        {"ev": "error", "text": "not JSON: what?"},
        {"ev": "event", **BUILD, "build_number": 3},
        {"ev": "stop", "upstream": s.UPSTREAM_PORT},
    ]
    give_up = time.monotonic() + 5
    while sessions[0].closed_with is None and time.monotonic() < give_up:
        time.sleep(0.005)
    assert sessions[0].closed_with == 1000


def test_open_without_a_first_message_is_not_live(servers, tmp_path):
    silent, good = servers.start(s.watching(never_first)), servers.start(s.watching(stays))
    watchers = [watcher("never", silent.port), watcher("good", good.port)]
    with metering(plan(tmp_path, watchers=watchers)) as run:
        run.until(lambda: run.live and run.live[-1]["open"] == 2)
        assert run.live[-1]["live"] <= 1
        run.until(lambda: run.live[-1]["live"] == 1)
        run.stop()

    assert evs(run.rows("never")) == ["dial", "open", "stop"]
    assert evs(run.rows("good")) == ["dial", "open", "first", "stop"]


@pytest.mark.parametrize(
    ("message", "error"),
    [
        (b"\xff\xfe", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[1]", "no known type"),
        (b'{"type":"news","data":null}', "no known type"),
        (b'{"type":"data","data":null}', "data without a build"),
        (b'{"type":"data","data":{"latest_build":[],"updated_at":""}}', "data without a build"),
        (b'{"type":"data","data":{"latest_build":{"build_number":"1","status":"x"},"updated_at":""}}', "data with a"),
        (b'{"type":"error","data":"plain"}', "plain"),
        (b'{"type":"error","data":{"message":"only"}}', "only"),
    ],
)
def test_what_is_no_watch_message_is_an_error_row(message, error):
    frame = read_frame(message)
    assert frame.build is None
    assert frame.error.startswith(error)


def test_an_upstream_that_is_named_twice_is_the_last_one():
    upgrade = Upgrade("127.0.0.1", 80, "/ws")
    request = upgrade.request({}).decode()
    key = next(line for line in request.splitlines() if line.startswith("Sec-WebSocket-Key: ")).partition(": ")[2]
    head = [
        "HTTP/1.1 101 Switching Protocols",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Accept: {accept_key(key)}",
        "X-Chaos-Upstream: 10.0.0.1:3001",
        "X-Chaos-Upstream: 10.0.0.2:3002",
    ]
    assert upgrade.read("\r\n".join([*head, "", ""]).encode(), Upstreams()) == b""
    assert upgrade.upstream == 3002
