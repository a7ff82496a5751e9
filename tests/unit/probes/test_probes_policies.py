from __future__ import annotations

import pytest

from harness.probes.policies import POLICIES, draw


def pauses(name: str, at: float, count: int = 9) -> list[float]:
    """The pauses of a client whose every draw is `at`, 0.5 being the middle."""
    return [round(POLICIES[name].pause_s(waits, at), 4) for waits in range(count)]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("eager", [0.05] * 9),
        ("terminal", [1, 2, 4, 8, 16, 32, 64, 64, 64]),
        ("vscode", [0.25, 0.5, 1, 2, 4, 8, 16, 30, 30]),
        ("stream", [1, 2, 4, 8, 10, 10, 10, 10, 10]),
    ],
)
def test_pauses_grow_as_the_source_says(name, expected):
    assert pauses(name, 0.5) == expected


def test_jitter_spreads_to_both_sides_and_only_a_strict_cap_holds_after_it():
    assert (pauses("stream", 0.0, 2), pauses("vscode", 0.0, 2)) == ([0.7, 1.4], [0.225, 0.45])
    assert (pauses("stream", 1.0, 2), pauses("vscode", 1.0, 2)) == ([1.3, 2.6], [0.275, 0.55])
    assert POLICIES["stream"].pause_s(20, 1.0) == 10
    assert POLICIES["stream"].pause_s(20, 0.0) == 7
    assert POLICIES["vscode"].pause_s(20, 1.0) == 33


def test_a_client_that_waited_a_thousand_times_still_knows_its_pause():
    assert POLICIES["terminal"].pause_s(1000, 0.5) == 64


def test_the_same_seed_draws_the_same_and_each_session_its_own():
    drawn = [draw(7, "watch-00", number) for number in range(200)]
    assert drawn == [draw(7, "watch-00", number) for number in range(200)]
    assert drawn != [draw(8, "watch-00", number) for number in range(200)]
    assert drawn != [draw(7, "watch-01", number) for number in range(200)]
    assert all(0 <= value < 1 for value in drawn)
    assert 0.4 < sum(drawn) / 200 < 0.6


@pytest.mark.parametrize(
    ("name", "seen", "why"),
    [
        ("eager", {"status": 401}, None),
        ("eager", {"code": 1002}, None),
        ("terminal", {"code": 1000}, None),
        ("stream", {"status": 404}, None),
        ("dashboard", {}, "policy"),
        ("dashboard", {"status": 502}, "policy"),
        ("vscode", {}, None),
        ("vscode", {"status": 502}, None),
        ("vscode", {"status": 429}, None),
        ("vscode", {"code": 1011}, None),
        *(("vscode", {"status": status}, f"status:{status}") for status in (401, 403, 404, 410, 426)),
        *(("vscode", {"code": code}, f"close:{code}") for code in (1000, 1001, 1002, 1003)),
    ],
)
def test_who_gives_up_when(name, seen, why):
    assert POLICIES[name].gives_up(**seen) == why


def test_every_policy_has_a_source():
    assert all(policy.source for policy in POLICIES.values())
    assert {name: policy.name for name, policy in POLICIES.items()} == {name: name for name in POLICIES}
