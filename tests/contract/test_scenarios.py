from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest
from fake_runs import BUGS, TWINS, Played, play

from harness import Run, discover, one, runner, scenario
from harness import events as ev
from harness.errors import RunDirError
from harness.eventlog import EventLog
from harness.evidence import conclude
from harness.fake.bugs import NAMES
from harness.faults import Freeze, Kill
from harness.ledger import HISTORY, SESSIONS
from harness.objectives import WritesKept
from harness.objectives.base import from_json, to_json
from harness.plan import dry_run, render_plan
from harness.timeline import SLOTS
from harness.timings import Env
from harness.verdict import Status

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from harness.selftest.cases import Case

    Played_ = Callable[..., Played]

SCENARIOS = sorted(discover.scenarios())


@pytest.mark.parametrize("name", SCENARIOS)
def test_it_states_a_promise_and_can_break_it(name: str) -> None:
    scenario = discover.scenario(name)
    assert scenario.promise.endswith(".")
    assert scenario.objectives
    assert scenario.tags
    assert scenario.rules, "a promise comes from somewhere: a rule of the framework, or an incident"
    assert scenario.source.stem.replace("_", "-") == name, "one file, one promise, one name"


@pytest.mark.parametrize("name", SCENARIOS)
def test_its_objectives_survive_storage(name: str) -> None:
    env = Env(scale=0.5, replicas=4)
    for objective in discover.scenario(name).objectives:
        spec = to_json(objective, env)
        again = from_json(json.loads(json.dumps(spec)))
        assert type(again) is type(objective)
        assert to_json(again, env)["name"] == spec["name"]


@pytest.mark.parametrize("name", SCENARIOS)
def test_its_plan_depends_on_the_seed_alone(name: str) -> None:
    scenario, env = discover.scenario(name), Env()

    def steps(seed: int) -> list[dict[str, object]]:
        return asyncio.run(dry_run(scenario, seed=seed, env=env, hold_s=None))

    assert steps(5) == steps(5)
    assert render_plan(scenario, steps(5), 5, env) == render_plan(scenario, steps(5), 5, env)
    wishes = {step["at"] for step in steps(5) if step["do"] == "fault"}
    if wishes - {"one balancer", "each coder"}:  # of those there is nothing to choose
        assert len({json.dumps(steps(seed)) for seed in range(12)}) > 1, "the seed chooses nothing"


@pytest.mark.parametrize("name", SCENARIOS)
def test_the_run_does_what_its_plan_said(name: str, played: Played_) -> None:
    events = [json.loads(line) for line in (played(name).directory / "events.jsonl").read_text().splitlines()]
    (plan,) = [event["steps"] for event in events if event["kind"] == "plan"]
    keys = ("fault", "name", "targets", "controls", "params")
    said = [{key: step[key] for key in keys} for step in plan if step["do"] == "fault"]
    assert said == [{key: event[key] for key in keys} for event in events if event["kind"] == "fault.prepared"]


def test_a_run_that_would_depart_from_its_plan_ends_before_it_injects(tmp_path: Path) -> None:
    """A body that decides by what it remembers is no scenario: on paper it hurts one, in the run another."""
    bodies = iter((Kill(), Freeze()))

    @scenario(objectives=[WritesKept()])
    async def fickle(run: Run) -> None:
        """A promise that its author keeps only sometimes."""
        async with run.fault(next(bodies), at=one("coder")):
            await run.hold(1)

    run = play(tmp_path / "run", fickle)
    assert run.verdict.status is Status.INCONCLUSIVE
    assert "f1 would be ['freeze'" in run.verdict.why
    assert "the plan said ['kill'" in run.verdict.why
    assert '"fault.prepared"' not in (run.directory / "events.jsonl").read_text()


def test_who_asks_for_the_end_is_heard_though_the_cancellation_is_lost(tmp_path: Path) -> None:
    """A task that is cancelled just when a deadline of its own ends takes the one for the other, and goes on."""
    stop, for_real = runner.Stop(), iter((False, True))

    @scenario(objectives=[WritesKept()])
    async def endless(run: Run) -> None:
        """A promise that takes an hour."""
        async with run.fault(Kill(), at=one("coder")):
            if next(for_real):  # on paper nobody is there to ask
                stop.ask("operator", "SIGINT received", 2)
            await run.hold(3600)

    with pytest.raises(KeyboardInterrupt):
        play(tmp_path / "run", endless, stop=stop)
    verdict, _ = conclude(tmp_path / "run")
    assert verdict.status is Status.ABORTED
    assert "SIGINT received" in verdict.why
    kinds = [json.loads(line)["kind"] for line in (tmp_path / "run" / "events.jsonl").read_text().splitlines()]
    assert kinds.index("fault.undone") < kinds.index("run.aborted")


def test_a_full_disk_is_told_once_whoever_meets_it_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The file it cannot write and then the event log: the one was said, the other adds nothing."""
    write, met = EventLog.emit, []
    for_real = iter((False, True))

    def full(log: EventLog, event: ev.Event) -> ev.Event:
        if isinstance(event, ev.Broken):
            met.append(event.why)
            log.refused = RunDirError("cannot write to events.jsonl: No space left on device")
            raise log.refused
        return write(log, event)

    @scenario(objectives=[WritesKept()])
    async def stumbles(run: Run) -> None:
        """A promise whose history finds no room."""
        async with run.fault(Kill(), at=one("coder")):
            if next(for_real):
                raise RunDirError("cannot write to history.jsonl: No space left on device")

    monkeypatch.setattr(EventLog, "emit", full)
    assert play(tmp_path / "run", stumbles).verdict.status is Status.INCONCLUSIVE
    assert met == ["cannot write to history.jsonl: No space left on device"]
    assert "No space" not in capsys.readouterr().err


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_healthy_stack_keeps_it(name: str, played: Played_) -> None:
    run = played(name)
    assert run.verdict.status is Status.PASS, run.report
    assert not run.verdict.dirty
    assert all(gate.ok for gate in run.verdict.gates)
    assert "records" in {gate.name for gate in run.verdict.gates}, "the meter counts what it records"


def title(case: Case) -> str:
    return f"{case.scenario.name}-{case.name}"


@pytest.mark.parametrize("case", BUGS, ids=title)
def test_a_seeded_bug_is_caught_by_its_own_objective(case: Case, played: Played_) -> None:
    run = played(case.scenario.name, case.name, tuple(case.settings.items()))
    assert run.verdict.status is Status.FAIL, run.report
    assert run.verdict.first_failed is not None
    assert run.verdict.first_failed.objective == case.objective, run.report


@pytest.mark.parametrize("case", TWINS, ids=title)
def test_its_legal_twin_passes(case: Case, played: Played_) -> None:
    run = played(case.scenario.name, case.name, tuple(case.settings.items()))
    assert run.verdict.status is Status.PASS, run.report


def test_every_bug_and_twin_has_a_scenario() -> None:
    assert {case.name for case in [*BUGS, *TWINS]} == set(NAMES)


def test_the_same_run_twice_gives_the_same_evidence(tmp_path: Path) -> None:
    short = {"time_scale": 0.05, "baseline": 2, "watchers": 6, "calm": 1}
    first, second = (play(tmp_path / name, "replica-kill", **short) for name in ("a", "b"))
    for file in (SLOTS, SESSIONS, HISTORY, "load-0.bin"):
        assert (first.directory / file).read_bytes() == (second.directory / file).read_bytes(), file
    assert first.report == second.report


@pytest.mark.parametrize("name", SCENARIOS)
def test_judging_and_drawing_change_nothing_and_agree(name: str, played: Played_) -> None:
    run = played(name)
    before = {p: (p.stat().st_mtime_ns, p.stat().st_size) for p in run.directory.rglob("*")}
    verdict, report = conclude(run.directory)
    assert verdict.to_json() == run.verdict.to_json() == (run.directory / "verdict.json").read_text()
    assert report == run.report == (run.directory / "report.txt").read_text()
    assert before == {p: (p.stat().st_mtime_ns, p.stat().st_size) for p in run.directory.rglob("*")}


def test_the_verdict_follows_the_balancers_profile(tmp_path: Path) -> None:
    """A slower balancer costs users more; a stack that has one is judged by what it promises, and by nothing stricter."""
    slow = play(tmp_path / "slow", "replica-kill", balancer="k8s-default")
    assert slow.verdict.status is Status.PASS, slow.report
    lost = next(f for f in slow.verdict.findings if f.objective == "bad-seconds")
    assert lost.limit == "<= 10.83 (ejection/N + 0.5 s) s"
    assert float(lost.value.removesuffix(" s")) > 5 / 3 + 0.5, "the tuned profile's limit would have been broken"
