from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import pytest
from make import unpack

from harness import eventlog
from harness.errors import RunDirError
from harness.evidence import conclude
from harness.judge import judge
from harness.records import SLOT, Outcome, read_slots
from harness.verdict import Gate, Status, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from harness.records import Slot


def gate(verdict: Verdict, name: str) -> Gate:
    return next(g for g in verdict.gates if g.name == name)


def lines_of(directory: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (directory / eventlog.FILE).read_text().splitlines()]


def write_lines(directory: Path, lines: list[dict[str, Any]]) -> None:
    (directory / eventlog.FILE).write_text("".join(json.dumps(line) + "\n" for line in lines))


def appended(directory: Path, **event: Any) -> None:
    lines = lines_of(directory)
    sealed = lines.pop()
    write_lines(directory, [*lines, {"v": 1, "seq": 10**6, "t_ns": sealed["t_ns"], "src": "runner", **event}, sealed])


def test_the_run_passes_as_it_is(passed: Path) -> None:
    assert judge(passed).status is Status.PASS


def test_a_run_cut_at_any_byte_of_its_last_events_is_inconclusive(light: Path) -> None:
    log = light / eventlog.FILE
    whole = log.read_bytes()
    stop = len(b"".join(whole.splitlines(keepends=True)[:-3]))
    for length in range(len(whole) - 1, stop - 1, -1):
        os.truncate(log, length)
        verdict = judge(light)
        assert verdict.status is Status.INCONCLUSIVE, length
        torn = whole[length - 1 : length] != b"\n"
        why = "evidence: its event log is cut in mid-line" if torn else "evidence: it ended early; the last event is "
        assert verdict.why.startswith(why), (length, verdict.why)


def test_a_run_cut_after_any_event_is_judged_and_drawn(passed: Path) -> None:
    log = passed / eventlog.FILE
    lines = log.read_bytes().splitlines(keepends=True)
    for count in range(len(lines) - 1, 0, -1):
        os.truncate(log, len(b"".join(lines[:count])))
        verdict, report = conclude(passed)
        assert verdict.status is Status.INCONCLUSIVE, count
        assert "ended early" in verdict.why
        assert report.startswith("INCONCLUSIVE")


def test_a_missing_manifest_is_inconclusive(passed: Path) -> None:
    (passed / "manifest.json").unlink()
    verdict = judge(passed)
    assert (verdict.status, verdict.exit_code) == (Status.INCONCLUSIVE, 3)
    assert verdict.why == "evidence: it was never sealed: its manifest is missing or unreadable"


@pytest.mark.parametrize("text", ["", "{", "{}", "[]", '{"files": 3}', '{"files": null}'])
def test_an_unreadable_manifest_is_inconclusive(text: str, passed: Path) -> None:
    (passed / "manifest.json").write_text(text)
    assert "manifest is missing or unreadable" in judge(passed).why


@pytest.mark.parametrize("file", ["slots.bin", "sessions.jsonl", "history.jsonl", "load-0.bin", "meter.jsonl"])
def test_a_changed_record_file_is_named(file: str, passed: Path) -> None:
    data = bytearray((passed / file).read_bytes())
    data[-2] ^= 1
    (passed / file).write_bytes(data)
    verdict = judge(passed)
    assert verdict.status is Status.INCONCLUSIVE
    assert verdict.why == f"evidence: {file} was changed after the run (sha256 differs from the manifest)"


def test_a_lost_record_file_is_named(passed: Path) -> None:
    (passed / "sessions.jsonl").unlink()
    assert judge(passed).why == "evidence: sessions.jsonl is missing"


def test_a_changed_event_log_is_named(passed: Path) -> None:
    appended(passed, kind="note", text="I was never here")
    assert judge(passed).why.startswith("evidence: events.jsonl was changed")


def test_a_folder_that_is_no_run_is_refused(passed: Path) -> None:
    write_lines(passed, lines_of(passed)[1:])
    with pytest.raises(RunDirError, match="does not begin with a run header"):
        judge(passed)


def test_a_harness_error_is_never_a_pass(passed: Path, resealed: Callable[[Path], None]) -> None:
    appended(passed, kind="run.broken", error="KeeperLost", why="the keeper is gone")
    resealed(passed)
    verdict = judge(passed)
    assert verdict.status is Status.INCONCLUSIVE
    assert verdict.why == "harness: the keeper is gone"


def test_an_abort_is_its_own_verdict(passed: Path, resealed: Callable[[Path], None]) -> None:
    appended(passed, kind="run.aborted", by="operator", why="SIGINT received")
    resealed(passed)
    verdict = judge(passed)
    assert (verdict.status, verdict.exit_code) == (Status.ABORTED, 4)


def test_who_was_started_again_and_never_serves_is_red(tmp_path: Path, resealed: Callable[[Path], None]) -> None:
    """A new process is the witness of our part; without it the undo may not have been done, and nothing is known."""
    directory = unpack("cold-start-finds-dirty", tmp_path / "run")
    verdict = judge(directory)
    assert (verdict.status, verdict.first_failed and verdict.first_failed.objective) == (Status.FAIL, "all-ready")
    undone = next(line["t_ns"] for line in lines_of(directory) if line["kind"] == "fault.undone")
    kept = [e for e in lines_of(directory) if e["kind"] != "resource.created" or e["t_ns"] < undone - 10**9]
    assert len(kept) < len(lines_of(directory))
    write_lines(directory, kept)
    resealed(directory)
    verdict = judge(directory)
    assert verdict.status is Status.INCONCLUSIVE
    assert "not healed: " in verdict.why


def without(directory: Path, kind: str) -> None:
    write_lines(directory, [line for line in lines_of(directory) if line["kind"] != kind])


@pytest.mark.parametrize(
    ("kind", "why"),
    [
        ("fault.proven", "not proven: the run ended first"),
        ("fault.undone", "never undone"),
        ("fault.healed", "not healed: the run ended first"),
        ("fault.injected", "prepared, never injected"),
        ("fault.prepared", "none was injected"),
        ("load.started", "never ran"),
    ],
)
def test_every_stage_of_a_fault_is_a_condition(
    kind: str, why: str, passed: Path, resealed: Callable[[Path], None]
) -> None:
    without(passed, kind)
    resealed(passed)
    verdict = judge(passed)
    assert verdict.status is Status.INCONCLUSIVE
    assert why in verdict.why


def test_the_proof_is_derived_again_from_the_records(passed: Path, resealed: Callable[[Path], None]) -> None:
    """An event that claims a proof does not stand against records that show none."""
    victim = next(line for line in lines_of(passed) if line["kind"] == "fault.prepared")["targets"][0]
    lanes = next(line for line in lines_of(passed) if line["kind"] == "meter.started")["lanes"]
    own = {lane["id"] for lane in lanes if lane["target"] == victim}
    slots = [s._replace(outcome=int(Outcome.OK)) if s.lane in own else s for s in read_slots(passed / "slots.bin")]
    (passed / "slots.bin").write_bytes(b"".join(SLOT.pack(*s) for s in slots))
    resealed(passed)
    verdict = judge(passed)
    assert verdict.status is Status.INCONCLUSIVE
    assert "not proven by the records" in verdict.why


def test_an_undo_that_failed_is_dirty(passed: Path, resealed: Callable[[Path], None]) -> None:
    lines = lines_of(passed)
    for line in lines:
        if line["kind"] == "fault.undone":
            line["outcomes"] = [{"do": "start", "ok": False, "said": "no such file"}]
    write_lines(passed, lines)
    resealed(passed)
    verdict = judge(passed)
    assert verdict.dirty
    assert verdict.exit_code == 6
    assert "f1 could not be undone: no such file" in verdict.why


def test_a_meter_that_stood_still_is_not_fit(passed: Path, resealed: Callable[[Path], None]) -> None:
    onset = next(line for line in lines_of(passed) if line["kind"] == "fault.injected")["after_ns"]
    with (passed / "meter.jsonl").open("a") as file:
        file.write(json.dumps({"stall": [onset + 10**9, onset + 2 * 10**9]}) + "\n")
    resealed(passed)
    verdict = judge(passed)
    assert verdict.status is Status.INCONCLUSIVE
    assert not gate(verdict, "meter stalls").ok


def test_a_meter_that_was_late_or_lost_slots_is_not_fit(passed: Path, resealed: Callable[[Path], None]) -> None:
    slots = list(read_slots(passed / "slots.bin"))
    late = [s._replace(sent=s.intended + 300_000_000) for s in slots]
    (passed / "slots.bin").write_bytes(b"".join(SLOT.pack(*s) for s in late))
    resealed(passed)
    assert not gate(judge(passed), "meter lateness").ok
    lost = [s._replace(outcome=int(Outcome.UNKNOWN), done=0) if s.slot % 20 == 0 else s for s in slots]
    (passed / "slots.bin").write_bytes(b"".join(SLOT.pack(*s) for s in lost))
    resealed(passed)
    assert not gate(judge(passed), "meter slots").ok


def test_too_little_load_proves_nothing(passed: Path, resealed: Callable[[Path], None]) -> None:
    os.truncate(passed / "load-0.bin", 24 * 40)
    resealed(passed)
    verdict = judge(passed)
    assert verdict.why.startswith("load: ")
    assert verdict.status is Status.INCONCLUSIVE


@pytest.mark.parametrize("file", ["sessions.jsonl", "history.jsonl", "meter.jsonl"])
@pytest.mark.parametrize("line", ["{", "null", "[1]", "\x00", ""])
def test_a_damaged_line_does_not_stop_the_report(file: str, line: str, passed: Path) -> None:
    whole = (passed / file).read_text()
    (passed / file).write_text(f"{line}\n{whole}")
    verdict, report = conclude(passed)
    assert verdict.status is Status.INCONCLUSIVE
    assert f"{file} was changed" in report


def replayed(directory: Path, outcome: Outcome, which: Callable[[Slot], bool]) -> None:
    """Write the slots again, those of `which` with another outcome."""
    slots = read_slots(directory / "slots.bin")
    data = b"".join(SLOT.pack(*(s._replace(outcome=int(outcome)) if which(s) else s)) for s in list(slots))
    (directory / "slots.bin").write_bytes(data)


def test_a_storm_of_429_says_nothing_about_users(passed: Path, resealed: Callable[[Path], None]) -> None:
    replayed(passed, Outcome.RATE_LIMITED, lambda s: s.slot % 50 == 7)
    resealed(passed)
    verdict = judge(passed)
    assert verdict.status is Status.INCONCLUSIVE
    assert verdict.why.startswith("rate limits: ")
    assert "probe answers were 429" in verdict.why


def test_a_token_that_expired_is_our_own_fault(passed: Path, resealed: Callable[[Path], None]) -> None:
    slots = list(read_slots(passed / "slots.bin"))
    last = {s.lane: s.slot for s in slots}
    replayed(passed, Outcome.UNAUTHORIZED, lambda s: s.lane == 2 and s.slot > last[2] - 100)
    resealed(passed)
    verdict = judge(passed)
    assert verdict.status is Status.INCONCLUSIVE
    assert verdict.why.startswith("credentials: the db lane of balancer had only 401 from ")


def test_a_401_that_heals_is_the_deployments_failure(passed: Path, resealed: Callable[[Path], None]) -> None:
    onset = next(line for line in lines_of(passed) if line["kind"] == "fault.injected")["after_ns"]
    replayed(passed, Outcome.UNAUTHORIZED, lambda s: s.lane == 2 and onset < s.intended < onset + 4 * 10**9)
    resealed(passed)
    verdict = judge(passed)
    assert gate(verdict, "credentials").ok
    assert verdict.status is Status.FAIL


def add_vitals(directory: Path, **vitals: float) -> None:
    lines = lines_of(directory)
    onset = next(line for line in lines if line["kind"] == "fault.injected")["after_ns"]
    over = next(line for line in lines if line["kind"] == "recovery.ended")["t_ns"]
    with (directory / "meter.jsonl").open("a") as file:
        for t_ns in range(onset, over, 10**9):
            file.write(json.dumps({"t_ns": t_ns, "steal_s": 0.0, **vitals}) + "\n")


@pytest.mark.parametrize("vitals", [{"steal_s": 0.08}, {"psi_cpu_s": 0.98}], ids=["stolen", "pressed"])
def test_a_machine_without_a_free_processor_is_not_fit(
    vitals: dict[str, float], passed: Path, resealed: Callable[[Path], None]
) -> None:
    add_vitals(passed, **vitals)
    resealed(passed)
    verdict = judge(passed)
    assert verdict.status is Status.INCONCLUSIVE
    assert verdict.why.startswith("machine: ")


def test_a_step_of_the_wall_clock_changes_no_figure(passed: Path, resealed: Callable[[Path], None]) -> None:
    add_vitals(passed, psi_cpu_s=0.3, wall_offset_ns=10**18)
    resealed(passed)
    before, drawn = conclude(passed)
    add_vitals(passed, psi_cpu_s=0.0, wall_offset_ns=10**18 + 3_600_000_000_000)
    resealed(passed)
    after, stepped = conclude(passed)
    assert after.status is before.status is Status.PASS
    line = "  the wall clock stepped by 3600.0 s; nothing here is dated by it, times in logs may be off\n"
    assert stepped.replace(line, "") == drawn
    assert line in stepped
