"""Sessions under TLS: the same turns, and what a certificate or a handshake may add to them."""

from __future__ import annotations

import asyncio
import ssl

import probe_servers as s
import pytest
import trustme
from probe_metering import metering, plan, watcher


async def stays(session: s.Session) -> None:
    session.text(s.snapshot())
    await asyncio.Event().wait()


async def ends(session: s.Session) -> None:
    session.text(s.snapshot())


async def resets(session: s.Session) -> None:
    session.text(s.snapshot())
    await session.writer.drain()
    await asyncio.sleep(0.02)  # a reset overtakes what was not read yet
    s.reset(session.writer)


async def echoes(session: s.Session) -> None:
    session.on_text = lambda data: session.text(data.decode())
    await asyncio.Event().wait()


async def speaks_http(server, reader, writer):
    await reader.read(65536)
    writer.write(s.answer(b"Client sent an HTTP request to an HTTPS server", "400 Bad Request"))
    await s.until_gone(reader)


# name: (whose certificate, handler, keys of the plan, turns of the first connection, cause or why)
CASES = {
    "stays": ("ours", s.watching(stays), {}, ["dial", "open", "first"], None),
    "echo": ("ours", s.watching(echoes), {"kind": "echo", "beat_ms": 20}, ["dial", "open", "first"], None),
    "ends": ("ours", s.watching(ends), {}, ["dial", "open", "first", "drop"], "eof"),
    "resets": ("ours", s.watching(resets), {}, ["dial", "open", "first", "drop"], "reset"),
    "stranger": ("stranger", s.watching(stays), {}, ["dial", "refused"], "tls"),
    "speaks-http": (None, speaks_http, {}, ["dial", "refused"], "tls"),
    "never-shakes": (None, s.hangs, {"dial_timeout_ms": 200}, ["dial", "refused"], "timeout"),
    "502": ("ours", s.saying(s.answer(b"no", "502 Bad Gateway")), {}, ["dial", "refused"], "status:502"),
}


@pytest.fixture(scope="module")
def held(tmp_path_factory):
    ca = trustme.CA()
    folder = tmp_path_factory.mktemp("tls")
    ca.cert_pem.write_to_path(str(folder / "ca.pem"))
    contexts = {}
    for name, issuer in (("ours", ca), ("stranger", trustme.CA())):
        contexts[name] = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        issuer.issue_cert("127.0.0.1").configure_cert(contexts[name])
    with s.servers() as running:
        sessions = [
            watcher(
                name, running.start(handler, contexts.get(certificate)).port, tls={"ca": str(folder / "ca.pem")}, **keys
            )
            for name, (certificate, handler, keys, _, _) in CASES.items()
        ]
        with metering(plan(folder, watchers=sessions)) as run:
            run.until(lambda: all(len(run.rows(name)) >= len(CASES[name][3]) for name in CASES))
            run.stop()
            yield run


@pytest.mark.parametrize("name", CASES)
def test_the_turns_are_those_without_tls(held, name):
    _, _, _, turns, why = CASES[name]
    rows = held.rows(name)
    assert [row["ev"] for row in rows][: len(turns)] == turns
    last = rows[len(turns) - 1]
    assert last.get("cause", last.get("why")) == why


def test_an_open_session_under_tls_ends_as_any_other(held):
    assert held.rows("stays")[-1]["ev"] == "stop"
    (end,) = (row for row in held.rows("echo") if row["ev"] == "stop")
    assert end["echo"]["lost"] == end["echo"]["doubled"] == 0
