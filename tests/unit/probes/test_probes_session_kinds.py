"""Inbox and echo sessions, and the clients that give up or wait, against real servers."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from types import SimpleNamespace

import probe_servers as s
import pytest
from probe_metering import metering, plan, watcher

from harness.populations import read_sessions
from harness.probes.kinds import kinds
from harness.probes.plan import parse_plan
from harness.probes.policies import POLICIES, draw
from harness.probes.session import Session

NOTIFICATION = json.dumps({"notification": {"id": "n-1", "title": "Workspace stopped"}, "unread_count": 3})


async def forever() -> None:
    await asyncio.Event().wait()


def facts(row: dict) -> dict:
    return {key: value for key, value in row.items() if key not in ("t_ns", "session", "policy", "kind", "last_ns")}


def of(run, session: str, *evs: str) -> list[dict]:
    return [row for row in run.rows(session) if row["ev"] in evs]


def test_an_inbox_is_back_with_the_first_pong_and_then_hears_news(servers, tmp_path):
    async def tells(session: s.Session) -> None:
        await session.server.thaw.wait()
        session.text(NOTIFICATION)
        session.text('{"unread_count": "many"}')
        await forever()

    server = servers.start(s.watching(tells))
    servers.call(server.thaw.clear)
    sessions = [watcher("inbox", server.port, kind="inbox", ping_every_ms=60_000)]
    with metering(plan(tmp_path, watchers=sessions)) as run:
        run.until(lambda: run.live and run.live[-1]["live"] == 1)
        servers.call(server.thaw.set)
        run.until_rows(lambda rows: rows[-1]["ev"] in ("error", "checkpoint") and of(run, "inbox", "error"))
        run.stop()

    assert [facts(row) for row in run.rows("inbox")] == [
        {"ev": "dial", "attempt": 1},
        {"ev": "open", "upstream": s.UPSTREAM_PORT},
        {"ev": "first"},
        {"ev": "event", "unread": 3, "notification": "n-1"},
        {"ev": "error", "text": 'no notification: {"unread_count": "many"}'},
        {"ev": "stop", "upstream": s.UPSTREAM_PORT},
    ]


def test_an_inbox_on_a_server_that_answers_no_ping_is_open_and_never_back(servers, tmp_path):
    async def deaf(session: s.Session) -> None:
        session.deaf = True
        await forever()

    server = servers.start(s.watching(deaf))
    sessions = [watcher("inbox", server.port, kind="inbox", ping_timeout_ms=200)]
    with metering(plan(tmp_path, watchers=sessions)) as run:
        run.until(lambda: of(run, "inbox", "drop"))
        run.stop()
    assert [row["ev"] for row in run.rows("inbox")][:3] == ["dial", "open", "drop"]
    assert of(run, "inbox", "drop")[0]["cause"] == "silent"


async def echoes(session: s.Session) -> None:
    session.on_text = lambda data: session.text(data.decode())
    await forever()


async def swaps_pairs(session: s.Session) -> None:
    held: list[str] = []

    def hear(data: bytes) -> None:
        held.append(data.decode())
        if len(held) == 2:
            for text in reversed(held):
                session.text(text)
            held.clear()

    session.on_text = hear
    await forever()


async def loses_every_third(session: s.Session) -> None:
    session.on_text = lambda data: None if int(data.rpartition(b"#")[2]) % 3 == 1 else session.text(data.decode())
    await forever()


async def says_it_twice(session: s.Session) -> None:
    session.on_text = lambda data: [session.text(data.decode()) for _ in range(2)]
    await forever()


async def says_something_else(session: s.Session) -> None:
    session.on_text = lambda data: session.text("stranger#1" if data.endswith(b"#1") else data.decode())
    await forever()


async def dies_after_five(session: s.Session) -> None:
    heard = asyncio.Event()

    def hear(data: bytes) -> None:
        number = int(data.rpartition(b"#")[2])
        if number % 5 == 4:
            heard.set()
        else:
            session.text(data.decode())

    session.on_text = hear
    await heard.wait()


ECHOES = {
    "good": echoes,
    "swaps": swaps_pairs,
    "loses": loses_every_third,
    "doubles": says_it_twice,
    "other": says_something_else,
    "dies": dies_after_five,
}


@pytest.fixture(scope="module")
def echoed(tmp_path_factory):
    with s.servers() as running:
        ports = {name: running.start(s.watching(script)).port for name, script in ECHOES.items()}
        sessions = [watcher(name, port, kind="echo", beat_ms=20) for name, port in ports.items()]
        with metering(plan(tmp_path_factory.mktemp("echo"), watchers=sessions)) as run:
            run.until_rows(lambda rows: len([row for row in rows if row["ev"] == "drop"]) >= 4)
            run.stop()
            yield run


def counts(run, session: str) -> dict[str, int]:
    ends = of(run, session, "drop", "stop")
    return {name: sum(row["echo"][name] for row in ends) for name in ends[0]["echo"]}


def test_a_good_echo_session_says_once_that_it_is_back_and_counts_the_rest(echoed):
    assert [row["ev"] for row in echoed.rows("good")] == ["dial", "open", "first", "stop"]
    found = counts(echoed, "good")
    assert found["sent"] >= 15
    assert found["back"] + found["in_flight"] == found["sent"]
    assert (found["lost"], found["doubled"], found["reordered"], found["late"]) == (0, 0, 0, 0)


def test_what_an_echo_server_gets_wrong_is_counted_for_what_it_is(echoed):
    swaps, loses, doubles = (counts(echoed, name) for name in ("swaps", "loses", "doubles"))
    assert swaps["reordered"] >= 5
    assert (swaps["doubled"], swaps["late"]) == (0, 0)
    assert swaps["lost"] <= 1, "the partner of the last one, at most"
    assert loses["lost"] >= loses["sent"] // 3 - 1
    assert loses["doubled"] == 0
    assert doubles["doubled"] >= doubles["back"] - 1
    assert doubles["lost"] == 0


def test_an_echo_that_is_not_ours_is_an_error_and_the_message_lost(echoed):
    assert [row["text"] for row in of(echoed, "other", "error")] == ["not ours: stranger#1"]
    assert counts(echoed, "other")["lost"] == 1


def test_what_was_under_way_when_the_line_ended_is_no_loss_of_the_stream(echoed):
    drops = of(echoed, "dies", "drop")
    assert {row["cause"] for row in drops} == {"eof"}
    for row in drops:
        assert row["echo"]["lost"] == 0
        assert row["echo"]["in_flight"] >= 1
        assert row["echo"]["sent"] == row["echo"]["back"] + row["echo"]["in_flight"]
    found = read_sessions(echoed.folder / "sessions.jsonl").population("echo.eager")
    assert found.echo.in_flight >= len(drops)


def closes(code: int) -> object:
    async def act(session: s.Session) -> None:
        session.text(s.snapshot())
        session.core.send_close(code, "going")
        session.flush()
        await forever()

    return s.watching(act)


def test_who_gives_up_says_why_and_never_dials_again(servers, tmp_path):
    refuses = {status: servers.start(s.saying(s.answer(b"no", f"{status} No"))).port for status in (401, 404, 502)}
    closing = {code: servers.start(closes(code)).port for code in (1001, 1011)}
    sessions = [watcher(f"vscode-{status}", port, policy="vscode") for status, port in refuses.items()]
    sessions += [watcher(f"vscode-{code}", port, policy="vscode") for code, port in closing.items()]
    sessions.append(watcher("dashboard-502", refuses[502], policy="dashboard"))
    sessions.append(watcher("dashboard-1011", closing[1011], policy="dashboard"))
    sessions.append(watcher("eager-401", refuses[401]))
    with metering(plan(tmp_path, watchers=sessions)) as run:
        again = ("vscode-502", "vscode-1011", "eager-401", "dashboard-502")
        run.until(lambda: all(len(of(run, name, "dial")) >= 3 for name in again))
        run.stop()

    gave_up = {row["session"]: row["why"] for row in run.rows() if row["ev"] == "gaveup"}
    assert gave_up == {
        "vscode-401": "status:401",
        "vscode-404": "status:404",
        "vscode-1001": "close:1001",
        "dashboard-1011": "policy",
    }
    for name in gave_up:
        assert run.rows(name)[-1]["ev"] == "gaveup"
        assert len(of(run, name, "dial")) == 1
    ledger = read_sessions(run.folder / "sessions.jsonl")
    assert set(ledger.population("watch.vscode").gave_up) == {"vscode-401", "vscode-404", "vscode-1001"}


def test_the_pauses_are_those_of_the_policy_and_the_seed(servers, tmp_path):
    port = servers.start(s.saying(s.answer(b"no", "503 No"))).port
    with metering(plan(tmp_path, watchers=[watcher("v", port, policy="vscode")], seed=11)) as run:
        run.until(lambda: len(of(run, "v", "dial")) >= 4)
        run.stop()
    ends, dials = of(run, "v", "refused"), of(run, "v", "dial")[1:]
    for number, (end, dial) in enumerate(zip(ends, dials, strict=False)):
        assert dial["t_ns"] - end["t_ns"] >= POLICIES["vscode"].pause_s(number, draw(11, "v", number)) * 1e9 - 1


def test_the_same_seed_waits_the_same_to_the_nanosecond():
    """What a session asks of the wheel, without any clock."""

    class Recorder:
        def __init__(self):
            self.dues = []

        def set(self, _sleeper, due):
            self.dues.append(due)

    def dues(seed: int, name: str) -> list[int]:
        group = parse_plan(
            json.dumps(plan(Path("/d"), watchers=[watcher(name, 80, policy="stream")])).encode()
        ).watchers[0]
        tools = SimpleNamespace(wheel=Recorder(), seed=seed)
        session = Session(group, SimpleNamespace(kind=kinds()["watch"], policy=POLICIES["stream"], tools=tools))
        for _ in range(6):
            session._leave(0, None)
        return tools.wheel.dues

    assert dues(3, "a") == dues(3, "a") == [int(POLICIES["stream"].pause_s(n, draw(3, "a", n)) * 1e9) for n in range(6)]
    assert dues(3, "a") != dues(4, "a")
    assert dues(3, "a") != dues(3, "b")


def test_the_first_dials_are_paced_and_never_too_many_are_unanswered(servers, tmp_path):
    """The server answers nobody before it was dialled by all whom the plan allows at once."""
    waiting: list[asyncio.Event] = []

    async def slowly(server: s.Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await server.request(reader)
        waiting.append(asyncio.Event())
        if len(waiting) == 3:
            for event in waiting:
                event.set()
            waiting.clear()
        else:
            await waiting[-1].wait()
        writer.write(s.answer(b"no", "404 No"))
        await s.until_gone(reader)

    port = servers.start(slowly).port
    sessions = [watcher(f"w{n}", port, policy="vscode", dial_timeout_ms=60_000) for n in range(12)]
    with metering(plan(tmp_path, watchers=sessions, herd_step_ms=1, herd_at_once=3)) as run:
        run.until_rows(lambda rows: len([row for row in rows if row["ev"] == "gaveup"]) == 12)
        run.stop()
    flying = most = 0
    for row in run.rows():
        flying += {"dial": 1, "refused": -1}.get(row["ev"], 0)
        most = max(most, flying)
    assert most == 3
    dials = [row["t_ns"] for row in run.rows() if row["ev"] == "dial"]
    assert dials == sorted(dials)
