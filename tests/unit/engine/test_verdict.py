from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from harness.verdict import Finding, Gate, Status, Verdict, bounded, decide

GATES = st.lists(
    st.builds(
        Gate,
        st.sampled_from(["baseline", "f1", "meter"]),
        ok=st.booleans(),
        said=st.just("x"),
        delivered=st.booleans(),
    ),
    max_size=4,
)
FINDINGS = st.lists(
    st.builds(
        Finding,
        st.sampled_from(["a", "b", "c"]),
        st.sampled_from([Status.PASS, Status.FAIL, Status.INCONCLUSIVE, Status.MEASURED]),
        st.just("said"),
        safety=st.booleans(),
    ),
    max_size=5,
)
ABORTED = st.sampled_from([None, "by operator: SIGINT received"])
DIRTY = st.sampled_from([None, "f1 could not be undone"])


def finding(name: str, status: Status, *, safety: bool = False) -> Finding:
    return Finding(name, status, f"{name} said", safety=safety)


OK = Gate("baseline", ok=True, said="held")
BROKEN = Gate("f1", ok=False, said="not proven")


@given(GATES, FINDINGS, ABORTED, DIRTY)
def test_fail_over_aborted_over_inconclusive_over_pass(
    gates: list[Gate], findings: list[Finding], aborted: str | None, dirty: str | None
) -> None:
    broken = any(not gate.ok for gate in gates)
    shut = any(not gate.ok and not gate.delivered for gate in gates)
    failed = [f for f in findings if f.status is Status.FAIL]
    unsafe = [f for f in failed if f.safety]
    if unsafe or (failed and not shut):
        expected = Status.FAIL
    elif aborted:
        expected = Status.ABORTED
    elif (
        broken
        or any(f.status is Status.INCONCLUSIVE for f in findings)
        or all(f.status is Status.MEASURED for f in findings)
    ):
        expected = Status.INCONCLUSIVE
    else:
        expected = Status.PASS
    verdict = decide(gates, findings, aborted, dirty)
    assert verdict.status is expected
    assert verdict.why
    assert verdict.dirty == bool(dirty)
    assert verdict.exit_code == (6 if dirty else {"PASS": 0, "FAIL": 1, "INCONCLUSIVE": 3, "ABORTED": 4}[expected])


def test_a_broken_safety_objective_needs_no_receipt() -> None:
    lost = finding("writes-kept", Status.FAIL, safety=True)
    verdict = decide([OK, BROKEN], [finding("bad-seconds", Status.FAIL), lost], "by operator", None)
    assert verdict.status is Status.FAIL
    assert verdict.why == "writes-kept: writes-kept said", "with a broken gate only the safety finding stands"


def test_without_a_receipt_an_ordinary_failure_proves_nothing() -> None:
    verdict = decide([OK, BROKEN], [finding("bad-seconds", Status.FAIL)], None, None)
    assert verdict.status is Status.INCONCLUSIVE
    assert verdict.why == "f1: not proven"


REFUSED = Gate("f1", ok=False, said="not proven: delivered, not done", delivered=True)


def test_what_a_target_refused_to_do_is_its_own_failure() -> None:
    failed = [finding("exits", Status.FAIL), finding("membership", Status.FAIL)]
    verdict = decide([OK, REFUSED], failed, None, None)
    assert (verdict.status, verdict.why) == (Status.FAIL, "exits: exits said")
    assert decide([OK, REFUSED, BROKEN], failed, None, None).status is Status.INCONCLUSIVE


def test_what_a_target_refused_to_do_is_no_credit_to_it() -> None:
    verdict = decide([OK, REFUSED], [finding("exits", Status.PASS)], None, None)
    assert (verdict.status, verdict.why) == (Status.INCONCLUSIVE, "f1: not proven: delivered, not done")


def test_the_first_failure_in_the_scenarios_order_names_the_cause() -> None:
    findings = [finding("a", Status.PASS), finding("b", Status.FAIL), finding("c", Status.FAIL, safety=True)]
    verdict = decide([OK], findings, None, None)
    assert verdict.why == "b: b said"
    assert verdict.first_failed == findings[1]


def test_figures_alone_are_no_pass() -> None:
    assert decide([OK], [finding("time-to-detect", Status.MEASURED)], None, None).status is Status.INCONCLUSIVE
    assert decide([OK], [], None, None).status is Status.INCONCLUSIVE


def test_dirt_is_a_flag_beside_the_verdict() -> None:
    verdict = decide([OK], [finding("a", Status.PASS)], None, "f1 could not be undone")
    assert (verdict.status, verdict.dirty, verdict.exit_code) == (Status.PASS, True, 6)
    assert "DIRTY" in verdict.why


@given(st.floats(0, 100), st.floats(0, 100), st.floats(0, 100))
def test_bounds_decide(one: float, other: float, limit: float) -> None:
    lo, hi = sorted((one, other))
    status = bounded(lo, hi, limit)
    assert (status is Status.FAIL) == (lo > limit)
    assert (status is Status.PASS) == (hi <= limit)
    for truth in (lo, (lo + hi) / 2, hi):
        if status is Status.PASS:
            assert truth <= limit
        if status is Status.FAIL:
            assert truth > limit


@given(GATES, FINDINGS)
def test_its_text_is_stable_and_complete(gates: list[Gate], findings: list[Finding]) -> None:
    verdict = decide(gates, findings, None, None)
    data = json.loads(verdict.to_json())
    assert verdict.to_json() == json.dumps(data, indent=1, sort_keys=True) + "\n"
    assert Verdict(Status(data["status"]), data["why"], dirty=data["dirty"]).status is verdict.status
    assert len(data["gates"]) == len(gates)
    assert len(data["findings"]) == len(findings)
