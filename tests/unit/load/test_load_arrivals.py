"""Open loop: what is due is sent, late if need be, and counts from the moment it was due."""

from __future__ import annotations

import json
import time
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from load_rig import LOADTESTS, LOCUSTFILES, finish, make_plan, python, start, terminate, wait_for

from harness.loadlog import dropped, requests, settled, totals
from harness.records import Outcome

if TYPE_CHECKING:
    from pathlib import Path

    from load_server import Api


def test_a_freeze_of_the_server_is_seen_by_all_who_arrived_in_it(api: Api, tmp_path: Path) -> None:
    (process,) = make_plan(tmp_path, api.url, file=LOADTESTS / "arrivals.py", users=50).children()
    child = start(process)
    wait_for(lambda: len(api.seen) > 30)
    closed = time.monotonic_ns()
    api.open.clear()
    time.sleep(1.0)
    opened = time.monotonic_ns()
    api.open.set()
    before = len(api.seen)
    wait_for(lambda: len(api.seen) > before + 20)
    terminate([child])
    rows = sorted(requests(process.records), key=lambda row: row.intended)
    frozen = [row for row in rows if closed < row.intended < opened]
    assert abs(len(frozen) - (opened - closed) * 50 / 1e9) <= 2  # evenly spaced, 50 per second
    assert {row.outcome for row in frozen} == {Outcome.OK}
    assert all(row.end > opened for row in frozen)  # a closed user would have asked once and waited
    assert sum(row.end - row.intended > 500_000_000 for row in frozen) >= 20
    assert totals([process.records]).dropped == 0


def test_what_is_overdue_is_sent_late_and_says_how_late(api: Api, tmp_path: Path) -> None:
    (process,) = make_plan(tmp_path, api.url, file=LOCUSTFILES / "open_gets.py", users=20, pace=2.0).children()
    told = tmp_path / "told.json"
    code, out = finish(start(process, PATHS="/healthz", GETS="80", STALL="0.5", STALL_FOR="0.6", TOLD=str(told)))
    assert code == 0
    rows = sorted(requests(process.records), key=lambda row: row.intended)
    assert len(rows) == 80
    ramped = [row.intended for row in rows[20:]]
    assert {round((b - a) / 1e6) for a, b in pairwise(ramped)} == {25}  # none left out, none moved
    late = [row for row in rows if row.start - row.intended > 100_000_000]
    assert len(late) >= 16  # 0.6 s at 40 per second, the last of them hardly late
    assert "open loop: 80 arrivals sent" in out
    by_due = {due: milliseconds for milliseconds, due in json.loads(told.read_text())}
    for row in late:
        told_ms = next(ms for due, ms in by_due.items() if abs(due - row.intended) < 1000)  # records keep microseconds
        assert (row.start - row.intended) / 1e6 <= told_ms <= (row.end - row.intended) / 1e6 + 0.001
    # In turn for all users, each with connections of its own: so arrivals spread over the replicas.
    assert {seen.headers["coder-session-token"] for seen in api.seen} == {f"token-{k}" for k in range(20)}
    assert len({seen.port for seen in api.seen}) >= 20


def test_too_many_in_flight_are_dropped_counted_and_the_rest_is_censored(api: Api, tmp_path: Path) -> None:
    api.hanging.set()
    plan = make_plan(tmp_path, api.url, file=LOCUSTFILES / "open_gets.py", users=20, pace=5.0)
    (process,) = plan.children()
    at = process.argv.index("--stop-timeout") + 1
    process = process._replace(argv=(*process.argv[:at], "1", *process.argv[at + 1 :]))
    told = tmp_path / "told.json"
    child = start(process, PATHS="/healthz", GETS="0", CHAOS_LOAD_IN_FLIGHT="2", TOLD=str(told))
    wait_for(lambda: process.records.is_file() and totals([process.records]).dropped > 20)
    stopped = time.monotonic_ns()
    (out,) = terminate([child]).said
    counted = totals([process.records])
    assert counted.started == counted.censored == 40
    due = sorted(
        [row.intended for row in requests(process.records)] + [row.intended for row in dropped(process.records)]
    )
    assert {round((b - a) / 1e6) for a, b in pairwise(due[20:])} == {10}
    assert out.count("an arrival was dropped because 2 requests of its user were in flight") == 1
    assert f"{counted.dropped} dropped" in out
    assert json.loads(told.read_text()).count([None, due[-1]]) == 1  # a failure without a time in Locust's tables
    late = [settled(row, stopped, 100_000_000) for row in requests(process.records)]
    assert late.count(Outcome.READ_TIMEOUT) >= 20


def test_every_kill_is_a_failure(api: Api, tmp_path: Path) -> None:
    (process,) = make_plan(tmp_path, api.url, file=LOCUSTFILES / "open_gets.py", pace=100.0).children()
    code, _ = finish(start(process, PATHS="/kill-second", GETS="100"))
    counted = totals([process.records])
    assert code == 0
    assert counted.started == 100
    assert counted.outcomes[Outcome.CLOSED] == api.killed >= 30  # 50 where none overlaps
    assert counted.outcomes[Outcome.OK] == 100 - api.killed


SCHEDULE = """
import _arrivals, json
class Clock:
    now = 10**9
    monotonic_ns = classmethod(lambda cls: cls.now)
_arrivals.time = Clock
schedule = _arrivals.Schedule(2.0, "seed")
due = lambda: int(schedule._from_ns + schedule._made * schedule._period_ns)
schedule.join("a")
first, period = due(), schedule._period_ns
Clock.now += (first - Clock.now) // 2
schedule.join("b")
print(json.dumps([first, period, Clock.now, due(), schedule._period_ns, _arrivals.Schedule(2.0, "other") is None]))
"""


def test_a_ramp_keeps_the_share_of_the_way_to_the_next_arrival() -> None:
    first, period, now, due, halved, _ = python(SCHEDULE)
    assert period == 500_000_000
    assert 10**9 <= first < 10**9 + period
    assert halved == 250_000_000
    assert due - now == pytest.approx((first - now) / 2, abs=2)
