"""What a run may hurt: 500 random plans never get past the limits, and what they refuse they name."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from random import Random
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness import Run, all_but_one, each, one, rolling, scenario
from harness.decider import Decider, Limits
from harness.errors import HarnessError, UsageError
from harness.faults import BalancerRestart, CpuThrottle, DbLatency, Freeze, Kill, Stop
from harness.faults.base import name_of, params_of, takes_down
from harness.objectives import Detected
from harness.plan import dry_run, longest_fault_s, paper_targets
from harness.timings import Env

if TYPE_CHECKING:
    from harness.faults.base import Fault
    from harness.targets import Selector

SELECTORS = {"one": one, "each": each, "all_but_one": all_but_one, "rolling": rolling}
FAULTS = {"kill": Kill, "freeze": Freeze, "stop": Stop, "db-latency": DbLatency, "cpu-throttle": CpuThrottle}

deeds = st.lists(
    st.tuples(
        st.sampled_from(sorted(FAULTS)),
        st.sampled_from(sorted(SELECTORS)),
        st.sampled_from(["coder", "coder", "coder", "balancer", "database", "nobody"]),
        st.booleans(),
    ),
    min_size=1,
    max_size=5,
)


def at(kind: str, role: str) -> Selector:
    return SELECTORS[kind](role)


@settings(max_examples=500, deadline=None)
@given(deeds, st.integers(2, 6), st.none() | st.integers(1, 6), st.booleans(), st.integers(0, 2**31), st.data())
def test_no_plan_gets_past_the_limits(  # noqa: PLR0917 - all is drawn
    wanted: list[tuple[str, str, str, bool]],
    replicas: int,
    max_down: int | None,
    outage: bool,
    seed: int,
    data: st.DataObject,
) -> None:
    """Faults that overlap or follow each other, on paper; whatever is not refused kept every limit at every moment."""
    names = [t.name for t in paper_targets(replicas)]
    only = frozenset(data.draw(st.just([]) | st.lists(st.sampled_from(names), min_size=1, unique=True)))
    down: dict[str, list[str]] = {}
    worst = 0

    @scenario(objectives=[Detected()], outage=outage)
    async def drawn(run: Run) -> None:
        """Whatever was drawn."""
        nonlocal worst
        async with AsyncExitStack() as on:
            for name, kind, role, stays in wanted:
                fault = FAULTS[name]()
                context = run.fault(fault, at=at(kind, role))
                chosen = await (on.enter_async_context(context) if stays else context.__aenter__())
                hurt = [t.name for t in chosen]
                assert not only or only.issuperset(hurt), "an unlisted target"
                if takes_down(fault):
                    now = {n for names in down.values() for n in names} | set(hurt)
                    worst = max(worst, sum(n.startswith("coder-") for n in now))
                if stays and takes_down(fault):
                    down[str(len(down))] = hurt
                if not stays:
                    await context.__aexit__(None, None, None)

    def plan() -> list[dict[str, Any]]:
        return asyncio.run(
            dry_run(drawn, seed=seed, env=Env(replicas=replicas), hold_s=1, limits=Limits(max_down, only))
        )

    try:
        first = plan()
    except UsageError as error:
        said = str(error)
        known = (
            "no healthy replica",
            "may hurt only",
            "down at once",
            "no target has the role",
            "chooses nobody",
            "is not",
        )
        assert any(words in said for words in known), said
        assert not (outage and "no healthy replica" in said), "the scenario says that it may"
        return
    assert worst < replicas or outage, "the last healthy replica"
    assert max_down is None or worst <= max_down, "more than allowed"
    down.clear()
    assert plan() == first, "the same seed decides the same"


def test_what_is_refused_is_named() -> None:
    def decider(**limits: Any) -> Decider:
        return Decider(paper_targets(3), Random(1), Limits(**limits))

    with pytest.raises(UsageError, match=r"kill at each coder would leave no healthy replica; refused"):
        decider().choose(Kill(), each("coder"))
    with pytest.raises(UsageError, match=r"would take 2 of 3 replicas down at once, the run may take 1; refused"):
        decider(max_down=1).choose(Kill(), all_but_one("coder"))
    with pytest.raises(UsageError, match=r"kill at one coder would hurt coder-\d, the run may hurt only balancer"):
        decider(only=frozenset({"balancer"})).choose(Kill(), one("coder"))
    with pytest.raises(UsageError, match=r"db-latency cannot hurt balancer: it is not DatabaseLink on this stack"):
        decider().choose(DbLatency(), one("balancer"))


def test_only_what_is_allowed_is_done_to_what_is_not_ours() -> None:
    decider = Decider(paper_targets(3), Random(1), Limits(allow=frozenset({"kill"})))
    with pytest.raises(UsageError, match="db-latency is not allowed on a project that is not ours: --allow db-latency"):
        decider.choose(DbLatency(), one("coder"))
    assert decider.choose(Kill(), one("coder"))[0] == "f1"


def test_an_outage_allows_that_and_nothing_else() -> None:
    def decider(**limits: Any) -> Decider:
        return Decider(paper_targets(3), Random(1), Limits(**limits), outage=True)

    allowed = decider()
    _, chosen = allowed.choose(Kill(), each("coder"))
    assert (allowed.controls(chosen), allowed.fronts(chosen)) == ([], ["balancer"])
    with pytest.raises(UsageError, match=r"would take 3 of 3 replicas down at once, the run may take 2; refused"):
        decider(max_down=2).choose(Kill(), each("coder"))
    with pytest.raises(UsageError, match=r"may hurt only coder-1"):
        decider(only=frozenset({"coder-1"})).choose(Kill(), each("coder"))
    with pytest.raises(UsageError, match=r"cannot hurt balancer"):
        decider().choose(DbLatency(), one("balancer"))


def test_a_front_is_a_control_in_an_outage_only() -> None:
    for fault, at_ in ((Kill(), all_but_one("coder")), (Kill(), one("balancer")), (DbLatency(), each("coder"))):
        decider = Decider(paper_targets(3), Random(1), outage=True)
        _, chosen = decider.choose(fault, at_)
        assert decider.fronts(chosen) == []


def test_who_is_down_is_not_chosen_again_and_counts() -> None:
    decider = Decider(paper_targets(3), Random(7))
    first, hurt = decider.choose(Kill(), one("coder"))
    second, more = decider.choose(Kill(), one("coder"))
    assert {t.name for t in hurt}.isdisjoint(t.name for t in more)
    with pytest.raises(UsageError, match="no healthy replica"):
        decider.choose(Stop(), one("coder"))
    decider.undone(first)
    _, again = decider.choose(Stop(), one("coder"))
    assert [t.name for t in again] == [t.name for t in hurt]
    decider.undone(second)


def test_a_delay_takes_nobody_down() -> None:
    decider = Decider(paper_targets(3), Random(7))
    _, all_ = decider.choose(DbLatency(), each("coder"))
    assert len(all_) == 3
    assert decider.controls(all_) == []
    decider.choose(Kill(), all_but_one("coder"))


def test_rolling_takes_each_once() -> None:
    decider, seen = Decider(paper_targets(4), Random(3)), []
    for _ in range(4):
        key, chosen = decider.choose(Stop(), rolling("coder"))
        seen += [t.name for t in chosen]
        decider.undone(key)
    assert sorted(seen) == ["coder-1", "coder-2", "coder-3", "coder-4"]
    with pytest.raises(UsageError, match="rolling coder chooses nobody among"):
        decider.choose(Stop(), rolling("coder"))


def test_a_balancer_is_watched_beside_the_replicas() -> None:
    decider = Decider(paper_targets(3), Random(3))
    _, chosen = decider.choose(Kill(), one("balancer"))
    assert decider.controls(chosen) == ["coder-1", "coder-2", "coder-3"]


def test_a_fault_of_one_role_hurts_no_other() -> None:
    decider = Decider(paper_targets(3), Random(3))
    with pytest.raises(UsageError, match=r"balancer-restart cannot hurt coder-.: its role is coder"):
        decider.choose(BalancerRestart(), one("coder"))
    assert [t.name for t in decider.choose(BalancerRestart(), one("balancer"))[1]] == ["balancer"]
    with pytest.raises(UsageError, match="how is 'soft'; it must be graceful or killed"):
        BalancerRestart(how="soft")


def test_it_does_what_was_planned_and_nothing_else() -> None:
    def planned(*faults: Fault) -> Decider:
        paper = Decider(paper_targets(3), Random(3))
        steps = []
        for fault in faults:
            key, chosen = paper.choose(fault, one("coder"))
            paper.undone(key)
            steps.append({"name": name_of(fault), "params": params_of(fault), "targets": [t.name for t in chosen]})
        return Decider(paper_targets(3), Random(3), planned=steps)

    planned(Kill()).choose(Kill(), one("coder"))
    planned(DbLatency(rtt_ms=5)).choose(DbLatency(rtt_ms=5), one("coder"))
    for said, would in ((Kill(), Stop()), (DbLatency(rtt_ms=5), DbLatency(rtt_ms=9))):
        with pytest.raises(HarnessError, match="the plan said"):
            planned(said).choose(would, one("coder"))
    with pytest.raises(HarnessError, match="the plan said no more faults"):
        planned().choose(Kill(), one("coder"))
    with pytest.raises(HarnessError, match="this fault was not injected"):
        planned(Kill()).choose(Kill(), each("coder"))


def test_a_fault_may_stay_on_for_the_proofs_and_heals_of_those_inside_it() -> None:
    def steps(*words: str) -> list[dict[str, Any]]:
        """`+f1` is a fault, `-f1` its undo, a number a hold, `?5` a question that may take so long."""
        known, timed = {"+": "fault", "-": "undo"}, {"?": "ask"}
        return [
            {"do": known[word[0]], "fault": word[1:]}
            if word[0] in known
            else {"do": timed.get(word[0], "hold"), "seconds": float(word.lstrip("?"))}
            for word in words
        ]

    assert longest_fault_s(steps("+f1", "5", "-f1"), 60.0) == 5.0
    assert longest_fault_s(steps("+f1", "5", "-f1", "+f2", "6", "-f2"), 60.0) == 11.0
    assert longest_fault_s(steps("+f1", "5", "+f2", "6", "-f2", "-f1"), 60.0) == 71.0
    assert longest_fault_s(steps("+f1", "+f2", "+f3", "1", "-f3", "-f2", "+f4", "-f4", "-f1"), 60.0) == 181.0
    assert longest_fault_s(steps("?9", "+f1", "?35", "5", "-f1", "+f2", "?45", "-f2", "?9"), 60.0) == 50.0
