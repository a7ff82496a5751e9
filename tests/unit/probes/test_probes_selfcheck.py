"""The meter's eye on itself: a pause of its own is always flagged, and the machine's state is in every row."""

from __future__ import annotations

import os
import signal
import time

import probe_servers as s
import pytest
from probe_metering import lane, metering, plan

from harness.probes import vitals
from harness.probes.selfcheck import SelfCheck
from harness.probes.vitals import Vitals, wall_offset_ns
from harness.records import UNDECIDED, Outcome

PAUSE_S = 0.5


@pytest.mark.parametrize("pauses", [2, pytest.param(20, marks=pytest.mark.soak)])
def test_every_pause_of_half_a_second_is_flagged_and_blames_nobody_else(servers, tmp_path, pauses):
    server = servers.start(s.saying(s.answer()))
    lanes = [lane(0, server.port, rate_hz=100), lane(1, server.port, "pinned", rate_hz=100)]
    times: list[tuple[int, int]] = []
    with metering(plan(tmp_path, lanes=lanes)) as run:
        run.until_slots(5)
        for _ in range(pauses):
            run.process.send_signal(signal.SIGSTOP)
            stopped = time.monotonic_ns()
            time.sleep(PAUSE_S)  # the length of the pause, not a wait for something
            resumed = time.monotonic_ns()
            run.process.send_signal(signal.SIGCONT)
            times.append((stopped, resumed))
            run.until(lambda: run.live[-1]["t_ns"] > resumed + 200_000_000)  # noqa: B023  # called at once
        run.stop()

    stalls = [row["stall"] for row in run.checks() if "stall" in row]
    for stopped, resumed in times:
        assert [1 for since, to in stalls if since <= stopped + 60_000_000 and to >= resumed] == [1]
    assert all(slot.outcome in UNDECIDED or slot.outcome == Outcome.OK for slot in run.slots())


MS = 1_000_000


@pytest.mark.parametrize(
    ("first", "second", "told"),
    [
        ([(0, 500)], [(5, 530)], [[(0, 500)], []]),  # the other watch woke up later
        ([(0, 500), (5, 530)], [], [[(0, 530)], []]),
        ([(5, 500)], [(0, 700)], [[(5, 500)], [(500, 700)]]),  # and slept on for what is a stall of its own
        ([(0, 100)], [(101, 300)], [[(0, 100)], [(101, 300)]]),
        ([(0, 100), (200, 300)], [], [[(0, 100), (200, 300)], []]),
    ],
)
def test_a_gap_that_both_watches_saw_is_told_once(first, second, told):
    check = SelfCheck()
    rows = []
    for gaps in (first, second):
        check._fresh_stalls.extend((since * MS, to * MS) for since, to in gaps)
        rows.append([row["stall"] for row in check.report(0, final=False) if "stall" in row])
    check._vitals.close()
    assert rows == [[(since * MS, to * MS) for since, to in part] for part in told]
    assert check.stalls == sum(map(len, told))


def test_a_row_says_what_the_kernel_knows(servers, tmp_path):
    server = servers.start(s.saying(s.answer()))
    with metering(plan(tmp_path, lanes=[lane(0, server.port, rate_hz=100)], priority=3)) as run:
        run.until(lambda: len([row for row in run.checks() if "sent" in row]) >= 2)
        run.stop()

    start, *rows = run.checks()
    assert (start["start"]["nice"], start["start"]["nice_asked"]) == (3, 3)
    seconds = [row for row in rows if "sent" in row]
    pressed = os.path.exists("/proc/pressure/cpu")  # noqa: PTH110  # a device of the kernel
    for row in seconds:
        assert row["cpu_s"] > 0
        assert row["wait_s"] >= 0
        assert row["steal_s"] >= 0
        assert not pressed or (row["psi_cpu_avg10"] >= 0 and row["psi_cpu_s"] >= 0)
        assert abs(row["wall_offset_ns"] - wall_offset_ns()) < 1_000_000_000
        assert (row["following"], row["not_followed"]) == (0, 0)


def test_the_wall_clock_is_read_between_two_looks_at_our_own(monkeypatch):
    clock = iter([0, 90, 100, 102, 200, 250])  # the second try was interrupted least
    monkeypatch.setattr(vitals, "monotonic_ns", lambda: next(clock))
    monkeypatch.setattr(vitals, "time_ns", lambda: 1_000_101)
    assert wall_offset_ns() == 1_000_000


def test_a_kernel_that_keeps_no_such_account_gives_null(monkeypatch):
    monkeypatch.setattr(vitals, "_open", lambda _: -1)
    nothing = Vitals()
    row = nothing.row()
    nothing.close()
    assert [row[key] for key in ("wait_s", "steal_s", "psi_cpu_avg10", "psi_cpu_s")] == [None] * 4
    assert row["cpu_s"] >= 0
    assert row["wall_offset_ns"]


def test_the_difference_since_the_last_row_is_told(monkeypatch):
    files = {"stat": 10, "pressure": 2_000_000, "sched": 5_000_000_000}
    kinds = {"/proc/stat": 100, "/proc/pressure/cpu": 101}
    monkeypatch.setattr(vitals, "_open", lambda path: kinds.get(path, 102))
    monkeypatch.setattr(
        vitals,
        "_read",
        lambda fd: {
            100: b"cpu  1 2 3 4 5 6 7 %d 0 0\ncpu0" % files["stat"],
            101: b"some avg10=36.18 avg60=31.50 avg300=38.94 total=%d\nfull" % files["pressure"],
            102: b"808136 %d 1\n" % files["sched"],
        }[fd],
    )
    told = Vitals()
    files |= {"stat": 10 + os.sysconf("SC_CLK_TCK"), "pressure": 2_500_000, "sched": 5_250_000_000}
    row = told.row()
    assert [row[key] for key in ("wait_s", "steal_s", "psi_cpu_avg10", "psi_cpu_s")] == [0.25, 1.0, 36.18, 0.5]
    row = told.row()
    assert [row[key] for key in ("wait_s", "steal_s", "psi_cpu_avg10", "psi_cpu_s")] == [0.0, 0.0, 36.18, 0.0]
