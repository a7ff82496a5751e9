"""What a stack after a run must be like for the next one to have it: every reason against it, one by one."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from harness import fingerprint
from harness.judge import judge
from harness.stack import Look, StackRequest
from harness.timeline import RunView
from harness.timings import BALANCERS
from harness.verdict import Status, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

ASKED = StackRequest(replicas=3, time_scale=0.25)
PASS = Verdict(Status.PASS, "all kept")


def test_alike_is_what_was_asked_alike() -> None:
    assert fingerprint.differs(ASKED, replace(ASKED, server_env={})) is None


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"replicas": 4}, "the next run needs replicas 4, the running stack has 3"),
        ({"time_scale": 1.0}, "the next run needs time scale 1.0, the running stack has 0.25"),
        ({"balancer": BALANCERS["k8s-default"]}, "needs balancer profile k8s-default, the running stack has tuned"),
        ({"coder": "/opt/coder"}, "needs coder binary /opt/coder, the running stack has the stand-in"),
        ({"server_env": {"STANDIN_BUGS": "x"}}, "environment of the server STANDIN_BUGS=x, the running stack has none"),
        ({"ports": range(1, 3)}, "needs ports 1-2, the running stack has 20000-29999"),
        ({"start_timeout_s": 1.0}, "start_timeout_s"),
    ],
)
def test_whatever_the_start_depends_on_counts(change: dict[str, Any], why: str) -> None:
    assert why in (fingerprint.differs(ASKED, replace(ASKED, **change)) or "")


def test_everything_that_is_asked_of_a_backend_is_compared() -> None:
    shown = set(StackRequest.__dataclass_fields__)
    assert set(fingerprint._WORDS) <= shown


def test_a_run_that_passed_spoils_nothing(light: Path) -> None:
    run = RunView(light)
    assert fingerprint.of_run(run, PASS) is None
    assert fingerprint.restarted(run) == {"coder-1"}


@pytest.mark.parametrize("status", [Status.FAIL, Status.ABORTED])
def test_a_verdict_that_speaks_against_the_stack(light: Path, status: Status) -> None:
    assert fingerprint.of_run(RunView(light), Verdict(status, "why it is")) == f"the run before is {status}: why it is"


def test_inconclusive_is_taken_by_what_made_it_so(light: Path) -> None:
    open_ = Verdict(Status.INCONCLUSIVE, "the bounds are too wide")
    assert fingerprint.of_run(RunView(light), open_) is None
    assert fingerprint.of_run(RunView(light), replace(open_, dirty=True)) is not None


def without(kind: str) -> Callable[[list[dict[str, Any]]], list[dict[str, Any]]]:
    return lambda lines: [line for line in lines if line["kind"] != kind]


def changed(kind: str, **values: Any) -> Callable[[list[dict[str, Any]]], list[dict[str, Any]]]:
    return lambda lines: [line | values if line["kind"] == kind else line for line in lines]


def added(kind: str, **values: Any) -> Callable[[list[dict[str, Any]]], list[dict[str, Any]]]:
    head = {"v": 1, "seq": 0, "t_ns": 1, "kind": kind, "src": "runner"}
    return lambda lines: [*lines, head | values]


BAD = [{"do": "start", "ok": False, "said": "it did not start"}]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (without("fault.undone"), "f1 kill on coder-1 is still open in the journal of the run before"),
        (changed("fault.undone", outcomes=BAD), "f1 kill on coder-1 is still open in the journal of the run before"),
        (without("fault.healed"), "f1 kill on coder-1 was not proven healed"),
        (without("recovery.ended"), "service was not stable again: the run ended first"),
        (changed("recovery.ended", stable=False, seen="slow"), "service was not stable again: slow"),
        (added("run.broken", error="E", why="the meter died"), "the run before is PASS: all kept"),
        (added("baseline.broken", why="not calm"), "the run before is PASS: all kept"),
    ],
)
def test_a_journal_that_speaks_against_the_stack(light: Path, change: Any, why: str) -> None:
    path = light / "events.jsonl"
    lines = change([json.loads(line) for line in path.read_text().splitlines()])
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert fingerprint.of_run(RunView(light), PASS) == why
    assert not fingerprint.restarted(RunView(light)) or "heal" not in why


def look(states: dict[str, str] | None = None, held: tuple[str, ...] = (), **processes: str) -> Look:
    found = {"coder-1": "11@5", "coder-2": "12@5", "postgres": "10@5"} | {
        name.replace("_", "-"): ref for name, ref in processes.items()
    }
    return Look(found, dict.fromkeys(found, "running") | (states or {}), held)


def test_the_same_processes_and_nothing_held() -> None:
    assert fingerprint.of_processes(look(), look()) is None


@pytest.mark.parametrize(
    ("after", "excused", "why"),
    [
        (look(coder_1="20@9"), frozenset(), "coder-1 is 20@9 and was 11@5: nobody is known to have started it again"),
        (look(coder_1="20@9"), frozenset({"coder-2"}), "coder-1 is 20@9 and was 11@5"),
        (look(coder_1="11@6"), frozenset(), "coder-1 is 11@6 and was 11@5"),
        (look(coder_1="20@9"), frozenset({"coder-1"}), None),
        (look({"coder-1": "gone"}), frozenset({"coder-1"}), "coder-1 is gone"),
        (look({"coder-2": "frozen"}), frozenset(), "coder-2 is frozen"),
        (look(coder_3="30@9"), frozenset(), "its processes are coder-1, coder-2, coder-3, postgres, no longer"),
        (look(held=("coder-1: the toxic f1-up is on",)), frozenset({"coder-1"}), "coder-1: the toxic f1-up is on"),
    ],
)
def test_what_is_not_as_it_was(after: Look, excused: frozenset[str], why: str | None) -> None:
    said = fingerprint.of_processes(look(), after, excused)
    assert said is None if why is None else why in (said or "")


def test_the_judge_of_a_run_that_passed_agrees(passed: Path) -> None:
    assert fingerprint.of_run(RunView(passed), judge(passed)) is None
