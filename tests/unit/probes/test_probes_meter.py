"""The process around the lanes: its start, its end, its files."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time

import probe_servers as s
import pytest
from probe_metering import PATIENCE_S, REPO, Run, lane, metering, plan, until

from harness.records import SLOT, Outcome, torn_bytes


def run_to_end(line: bytes) -> tuple[int, bytes, bytes]:
    done = subprocess.run(
        [sys.executable, "-m", "harness.probes.meter"],
        cwd=REPO,
        input=line,
        capture_output=True,
        timeout=PATIENCE_S,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"colour": 1}, b"meter: plan: unknown key colour\n"),
        ({"lanes": [lane(0, 1, host="no.such.host.invalid")]}, b"meter: plan: cannot resolve host"),
        ({"dir": "/nowhere/at/all"}, b"meter: plan: dir cannot take /nowhere/at/all/slots.bin: No such file"),
    ],
)
def test_a_bad_plan_is_one_line_and_exit_2(tmp_path, change, text):
    row = plan(tmp_path, lanes=[lane(0, 1)])
    code, out, err = run_to_end(json.dumps({**row, **change}).encode() + b"\n")

    assert (code, out) == (2, b"")
    assert err.startswith(text)
    assert err.count(b"\n") == 1


def test_no_plan_at_all_is_a_bad_plan():
    code, _, err = run_to_end(b"")
    assert code == 2
    assert err.startswith(b"meter: the plan is not one line of JSON")


def test_evidence_is_never_overwritten(tmp_path):
    (tmp_path / "sessions.jsonl").write_text("precious\n")
    code, _, err = run_to_end(json.dumps(plan(tmp_path, lanes=[lane(0, 1)])).encode())

    assert (code, err.count(b"\n")) == (2, 1)
    assert b"sessions.jsonl: File exists" in err
    assert (tmp_path / "sessions.jsonl").read_text() == "precious\n"
    assert [path.name for path in tmp_path.iterdir()] == ["sessions.jsonl"]


def test_a_plan_that_ends_with_the_input_stops_at_once(tmp_path, servers):
    server = servers.start(s.saying(s.answer()))
    code, out, err = run_to_end(json.dumps(plan(tmp_path, lanes=[lane(0, server.port)])).encode())

    assert (code, err) == (0, b"")
    assert ["ready" in json.loads(line) for line in out.splitlines()] == [True, False]


def test_lines_come_four_times_a_second_and_never_run_ahead_of_the_files(tmp_path, servers):
    server = servers.start(s.saying(s.answer()))
    with metering(plan(tmp_path, lanes=[lane(0, server.port, rate_hz=100)])) as run:
        run.until(lambda: run.lines)
        run.process.send_signal(signal.SIGINT)  # Ctrl-C goes to the whole group, and ends nothing here
        for count in range(1, 5):
            run.until(lambda count=count: len(run.live) >= count)
            assert (tmp_path / "slots.bin").stat().st_size >= run.live[count - 1]["slots"] * SLOT.size
        run.stop()

    assert run.live[3]["t_ns"] - run.live[0]["t_ns"] >= 600_000_000
    assert torn_bytes(tmp_path / "slots.bin", SLOT) == 0
    start, *rows = run.checks()
    assert (start["start"]["uvloop"], start["start"]["pid"]) == (False, run.process.pid)
    seconds = [row for row in rows if "t_ns" in row]
    assert seconds
    assert all(row["cpu_s"] > 0 and row["lateness_max_ms"] >= row["lateness_p50_ms"] > 0 for row in seconds)


def test_stop_waits_for_the_answers_under_way(tmp_path, servers):
    server = servers.start(s.slow(0.2))
    lanes = [lane(0, server.port), lane(1, server.port, "pinned", rate_hz=4)]
    with metering(plan(tmp_path, lanes=lanes)) as run:
        run.until_slots(1)
        run.process.send_signal(signal.SIGTERM)  # the same as the end of input
        ended = time.monotonic_ns()
        run.process.wait(PATIENCE_S)
        run.stop()
        slots = run.slots()

    assert {Outcome(slot.outcome) for slot in slots} == {Outcome.OK}
    assert max(slot.done for slot in slots) > ended
    assert server.requests == len(slots)


def test_stop_abandons_what_is_still_under_way(tmp_path, servers):
    server = servers.start(s.hangs)
    lanes = [lane(0, server.port), lane(1, server.port, "pinned")]
    with metering(plan(tmp_path, lanes=lanes, deadline_ms=10_000)) as run:
        run.until(lambda: server.connections >= 4)
        run.stop()

    for lane_id in (0, 1):
        slots = run.slots(lane_id)
        assert [slot.slot for slot in slots] == list(range(len(slots)))
        assert {(slot.outcome, slot.done) for slot in slots} == {(Outcome.UNKNOWN, 0)}


def test_a_reader_who_stops_reading_loses_lines_and_no_records(tmp_path, servers):
    server = servers.start(s.saying(s.answer()))
    read, write = os.pipe()
    os.set_blocking(write, False)
    with contextlib.suppress(BlockingIOError):
        while os.write(write, b"x" * 4096):
            pass
    os.set_blocking(write, True)
    process = subprocess.Popen(
        [sys.executable, "-m", "harness.probes.meter"], cwd=REPO, stdin=subprocess.PIPE, stdout=write
    )
    os.close(write)
    try:
        process.stdin.write(json.dumps(plan(tmp_path, lanes=[lane(0, server.port, rate_hz=100)])).encode() + b"\n")
        process.stdin.flush()
        until(lambda: (tmp_path / "slots.bin").exists() and (tmp_path / "slots.bin").stat().st_size >= 8 * SLOT.size)
        process.stdin.close()
        assert process.wait(PATIENCE_S) == 0
    finally:
        process.kill()
        process.wait()
        os.close(read)


def test_a_full_disk_is_one_line_and_exit_74(tmp_path, servers):
    server = servers.start(s.saying(s.answer()))
    row = plan(tmp_path, lanes=[lane(0, server.port, rate_hz=400)])
    run = Run(row, prefix=("prlimit", "--fsize=4096"))
    try:
        assert run.process.wait(PATIENCE_S) == 74
        assert run.process.stderr.read() == b"meter: cannot write slots.bin: File too large\n"
        assert len(run.slots()) == 4096 // SLOT.size
    finally:
        run.abolish()


def test_a_full_disk_under_the_live_lines_ends_it_too(tmp_path):
    with open("/dev/full", "wb") as full:  # noqa: PTH123  # a device
        process = subprocess.run(
            [sys.executable, "-m", "harness.probes.meter"],
            cwd=REPO,
            input=json.dumps(plan(tmp_path, lanes=[lane(0, 1)])).encode() + b"\n",
            stdout=full,
            stderr=subprocess.PIPE,
            timeout=PATIENCE_S,
            check=False,
        )
    assert process.returncode == 74
    assert process.stderr == b"meter: cannot write to stdout: No space left on device\n"


def test_a_fault_of_our_own_is_one_line_and_exit_70(tmp_path, servers):
    server = servers.start(s.saying(s.answer()))
    broken = (
        "import sys\nfrom harness.probes import meter, lanes\n"
        "lanes.FreshLane.due = lambda self, exchange: 1 / 0\nsys.exit(meter.main())"
    )
    run = Run(plan(tmp_path, lanes=[lane(0, server.port)]), command=("-c", broken))
    try:
        assert run.process.wait(PATIENCE_S) == 70
        assert run.process.stderr.read() == b"meter: fault in the meter: ZeroDivisionError('division by zero')\n"
    finally:
        run.abolish()
