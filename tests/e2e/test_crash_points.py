"""However the harness ends, within ten seconds nothing of the run is left, and the torn run proves nothing.

Real runs on the local stack, cut at every kind of event, at random moments, and in the ways an operator cuts them.
"""

from __future__ import annotations

import json
import os
import random
import secrets
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any

import crash_lab as lab
import pytest
from crash_lab import FREEZE, Case, Result

from harness.events import KINDS

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterator
    from concurrent.futures import Future
    from pathlib import Path

pytestmark = pytest.mark.e2e

SEED = int(os.environ.get("CRASH_SEED") or secrets.randbelow(2**31))
STOPPED_S = 60.0
GOOD_RUN_S = 16.0
ALL_EVENTS = 48  # more than a good run of the tiny scenario writes

KILL: list[str] = ["kill"]
KINDS_CUT: dict[str, Case] = {
    kind: Case(kind, [{"kind": kind, "do": KILL}])
    for kind in (
        *("run.header", "plan", "resource.created", "stack.ready", "stack.bootstrapped", "meter.started"),
        *(
            "load.started",
            "membership",
            "replica.latency",
            "note",
            "fault.prepared",
            "fault.injected",
            "process.exited",
            "fault.proven",
        ),
        *("fault.undone", "fault.healed", "recovery.ended", "truth", "schema", "run.sealed"),
    )
} | {
    "health.report": Case("health.report", [{"kind": "health.report", "do": KILL}], scenario=FREEZE),
    "phase": Case("phase", [{"kind": "phase", "name": "fault", "do": KILL}]),
    "baseline.broken": Case(
        "baseline.broken",
        [{"kind": "baseline.broken", "do": KILL}],
        settings={"warmup": "1s"},
        orders={"steady": 10**6},
    ),
    "fault.unproven": Case(
        "fault.unproven", [{"kind": "fault.unproven", "do": KILL}], settings={"prove": "1s"}, orders={"noop": "Kill"}
    ),
    # The undo continues the replica; stopped again at once it cannot heal.
    "fault.unhealed": Case(
        "fault.unhealed",
        [{"kind": "fault.undone", "do": ["process:STOP:@"]}, {"kind": "fault.unhealed", "do": KILL}],
        scenario=FREEZE,
        orders={"patch": {"harness.live:HEAL_S": 2.0}},
    ),
    "run.aborted": Case(
        "run.aborted",
        [{"kind": "fault.proven", "do": ["int"]}, {"kind": "run.aborted", "do": KILL}],
        settings={"hold": "20s"},
    ),
    # Without its meter the harness is blind: that is its own failure.
    "run.broken": Case(
        "run.broken",
        [{"kind": "fault.proven", "do": ["process:KILL:meter"]}, {"kind": "run.broken", "do": KILL}],
        settings={"hold": "20s"},
    ),
}


def stop_for_a_minute(popen: subprocess.Popen[bytes], folder: Path) -> None:
    """Wait until the harness has stopped itself, and continue it a minute later; one that never came to it just ends."""
    lab.eventually(lambda: (folder / "acted").exists() or popen.poll() is not None, "the fault is on", 120)
    over = time.monotonic() + STOPPED_S
    while time.monotonic() < over and popen.poll() is None:
        time.sleep(0.1)
    popen.send_signal(signal.SIGCONT)


def kill_at(moment: float) -> Callable[[subprocess.Popen[bytes], Path], None]:
    def outside(popen: subprocess.Popen[bytes], _: Path) -> None:
        over = time.monotonic() + moment
        while time.monotonic() < over and popen.poll() is None:
            time.sleep(0.01)
        popen.kill()

    return outside


def moments(count: int, seed: int) -> list[Case]:
    """Random moments, one in each of `count` equal parts of a run."""
    dice, part = random.Random(seed), GOOD_RUN_S / count
    cuts = [part * i + dice.uniform(0.05, part) for i in range(count)]
    return [Case(f"random-{i}-seed-{seed}-at-{cut:.2f}s", outside=kill_at(cut)) for i, cut in enumerate(cuts)]


PROVEN = "fault.proven"
LONG = {"hold": "20s"}
STOPPED = Case(
    "stopped", [{"kind": PROVEN, "do": ["stop"]}], settings={"prove": "5s"}, outside=stop_for_a_minute, idle=True
)
KEEPER = Case("keeper", [{"kind": PROVEN, "do": ["keeper"]}], settings=LONG)
BOTH = Case("both", [{"kind": PROVEN, "do": ["keeper", "kill"]}], settings=LONG, after=("sweep",))
BOTH_FROZEN = Case(
    "both-frozen",
    [{"kind": PROVEN, "do": ["keeper", "kill"]}],
    scenario=FREEZE,
    settings=LONG,
    after=("run", "-s", "replica-kill"),
    after_env={"CHAOS_PORTS": "20000-20001"},  # a start that clears up first, and then goes no further
)
CTRL_C = Case("ctrl-c", [{"kind": PROVEN, "do": ["group:INT"]}], settings=LONG)
CTRL_C_TWICE = Case(
    "ctrl-c-twice",
    [{"kind": PROVEN, "do": ["group:INT"]}, {"kind": PROVEN, "do": ["group:INT"], "after_s": 0.03}],
    settings=LONG,
)
CTRL_C_START = Case("ctrl-c-at-start", [{"kind": "resource.created", "count": 3, "do": ["group:INT"]}])
CTRL_C_END = Case("ctrl-c-at-the-end", [{"kind": "run.sealed", "do": ["group:INT"]}])
TERM = Case("sigterm", [{"kind": PROVEN, "do": ["term"]}], settings=LONG)
OPERATOR = [STOPPED, KEEPER, BOTH, BOTH_FROZEN, CTRL_C, CTRL_C_TWICE, CTRL_C_START, CTRL_C_END, TERM]
RANDOM = moments(4, SEED)

Results = dict[str, "Future[Result]"]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Results]:
    """All cases; the longest start first."""
    cases = [*OPERATOR, *reversed(KINDS_CUT.values()), *RANDOM]
    with lab.played(cases, tmp_path_factory.mktemp("crash")) as results:
        yield results


def of(results: Results, case: Case) -> Result:
    """The result of a case; that nothing is left holds for every one of them."""
    result = results[case.name].result()
    sys.stderr.write(f"crash seed {SEED}; {result.told()}\n")
    assert not result.hung, "it never ended"
    assert result.left == []
    assert result.gone_s <= lab.GONE_S
    assert len(result.acted) == len(case.acts), "it never came to the point"
    return result


def check_cut(result: Result, last: str) -> dict[str, Any]:
    """The harness was killed right after the event `last`: nobody is told anything but the truth."""
    assert result.code == -signal.SIGKILL
    assert result.kinds[-1] == last
    code, verdict = result.judged()
    assert (code, verdict["status"]) == ((4, "ABORTED") if last == "run.aborted" else (3, "INCONCLUSIVE"))
    code, said = result.command("heal", str(result.directory))
    assert code == 0, said
    code, said = result.command("report", str(result.directory))
    assert (code, verdict["status"] in said) == ({"ABORTED": 4}.get(verdict["status"], 3), True)
    swept = result.command("sweep")
    assert result.registrations == []
    # The keeper has left nothing to do but to forget the run.
    assert swept[0] == 0
    assert all(line.endswith(": removed its registration") for line in swept[1].splitlines()) or "nothing" in swept[1]
    return verdict


def test_every_kind_of_event_has_a_case() -> None:
    assert set(KINDS_CUT) == set(KINDS), "a new kind of event needs a case here: the harness must survive it"


@pytest.mark.parametrize("kind", KINDS_CUT)
def test_killed_right_after_an_event(results: Results, kind: str) -> None:
    verdict = check_cut(of(results, KINDS_CUT[kind]), kind)
    missing = {
        "run.sealed": "it was never sealed: its manifest is missing",
        "run.aborted": "by operator: SIGINT received",
        "run.broken": "the meter stopped reporting",
    }
    assert missing.get(kind, f"it ended early; the last event is {kind}") in verdict["why"]


@pytest.mark.parametrize("case", RANDOM, ids=[f"random-{i}" for i in range(len(RANDOM))])
def test_killed_at_a_random_moment(results: Results, case: Case) -> None:
    check_random(of(results, case))


def check_random(result: Result) -> None:
    if result.runs.exists():
        whole = (result.directory / "verdict.json").exists()
        code, said = result.command("judge", str(result.directory))
        if (result.directory / "events.jsonl").exists() and result.kinds:
            assert whole or code == 3, said
        else:
            assert code == 2, said
            assert said.startswith("coder-chaos: ")
    result.command("sweep")
    assert result.registrations == []


def test_a_stalled_harness_is_ended_by_its_keeper(results: Results) -> None:
    result = of(results, STOPPED)
    assert result.code == 3, "it must say that it proved nothing"
    assert result.registrations == []
    code, verdict = result.judged()
    assert (code, verdict["status"]) == (3, "INCONCLUSIVE")
    assert "keeper" in verdict["why"]
    log = [json.loads(line) for line in (result.directory / "keeper.jsonl").read_text().splitlines()]
    assert any("passed its revert_by" in str(entry.get("why")) for entry in log)
    events = [json.loads(line) for line in (result.directory / "events.jsonl").read_text().splitlines()]
    undone = [event for event in events if event["kind"] == "fault.undone"]
    assert [event["by"] for event in undone] == ["keeper"]
    assert all(outcome["ok"] for outcome in undone[0]["outcomes"])
    assert "f1 passed its revert_by" in result.err
    assert "Traceback" not in result.err


def test_a_run_that_loses_its_keeper_clears_up_itself(results: Results) -> None:
    result = of(results, KEEPER)
    assert result.code == 3
    assert result.registrations == []
    code, verdict = result.judged()
    assert (code, verdict["status"]) == (3, "INCONCLUSIVE")
    assert "keeper" in verdict["why"]
    assert "Traceback" not in result.err


@pytest.mark.parametrize("case", [BOTH, BOTH_FROZEN], ids=["sweep", "next start"])
def test_what_a_run_leaves_that_dies_with_its_keeper_is_swept_aloud(results: Results, case: Case) -> None:
    result = of(results, case)
    assert result.code == -signal.SIGKILL
    code, said = result.after
    assert code == (5 if case is BOTH_FROZEN else 0), said
    assert "removed " in said
    assert "/chaos-" in said
    assert "removed its registration" in said
    assert result.registrations == []
    assert result.judged()[0] == 3


@pytest.mark.parametrize(("case", "code"), [(CTRL_C, 130), (TERM, 143)], ids=["SIGINT", "SIGTERM"])
def test_a_signal_undoes_and_reports(results: Results, case: Case, code: int) -> None:
    result = of(results, case)
    assert result.code == code
    assert result.out.startswith("ABORTED")
    assert "VALIDITY" in result.out, "the report is printed as always"
    assert "Traceback" not in result.err
    judged, verdict = result.judged()
    assert (judged, verdict["status"]) == (4, "ABORTED")
    assert result.registrations == []
    kinds = result.kinds
    assert kinds.index("fault.undone") < kinds.index("run.aborted")
    assert kinds[-1] == "run.sealed"


def test_the_second_ctrl_c_leaves_at_once(results: Results) -> None:
    result = of(results, CTRL_C_TWICE)
    assert result.code == 130
    assert "again: leaving now" in result.err
    assert "Traceback" not in result.err
    assert result.judged()[0] in (3, 4)
    assert result.command("sweep")[0] == 0
    assert result.registrations == []


@pytest.mark.parametrize("case", [CTRL_C_START, CTRL_C_END], ids=["at the start", "at the end"])
def test_ctrl_c_outside_the_fault(results: Results, case: Case) -> None:
    result = of(results, case)
    assert result.code == 130
    assert result.out
    assert "Traceback" not in result.err
    assert result.judged()[0] == 4 if case is CTRL_C_START else (result.directory / "verdict.json").exists()
    assert result.registrations == []


@pytest.mark.soak
def test_killed_after_each_single_event_and_at_more_random_moments(tmp_path: Path) -> None:
    lab.warm_cache()
    each = [Case(f"event-{seq}", [{"seq": seq, "do": KILL}]) for seq in range(ALL_EVENTS)]
    more = moments(6, SEED + 1)
    with ThreadPoolExecutor(lab.AT_ONCE) as pool:
        for result in pool.map(partial(lab.play, base=tmp_path), [*each, *more]):
            sys.stderr.write(f"crash seed {SEED}; {result.told()}\n")
            assert not result.hung
            assert result.left == []
            if result.case in more:
                check_random(result)
            elif result.acted:
                check_cut(result, result.acted[0]["kind"])
