from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness import timings
from harness.timings import (
    Balancer,
    Env,
    Formula,
    N,
    ejection,
    redial,
    replica_gone,
    replica_heartbeat,
    resolve,
    server,
    text_of,
    wall,
)

FAST = Env(scale=0.2, replicas=5)
SLOW = Balancer("slow", interval_s=10, timeout_s=5, failures=3)


@pytest.mark.parametrize(
    ("formula", "text", "normal", "fast"),
    [
        (server(15), "server(15 s)", 15, 3),
        (wall(2), "2 s", 2, 2),
        (ejection, "ejection", 5, 5),
        (ejection / N, "ejection/N", 5 / 3, 1),
        (ejection / N + 0.5, "ejection/N + 0.5 s", 5 / 3 + 0.5, 1.5),
        (ejection + redial, "ejection + redial", 7, 7),
        ((ejection + redial) / N, "(ejection + redial)/N", 7 / 3, 7 / 5),
        ((ejection + 1) * 2, "(ejection + 1 s) x 2", 12, 12),
        (replica_gone + replica_heartbeat, "3 x heartbeat + heartbeat", 20, 4),
        (replica_gone * 2, "3 x heartbeat x 2", 30, 6),
        (server(1) + wall(1), "server(1 s) + 1 s", 2, 1.2),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_a_formula_has_a_value_and_a_text(formula: Formula, text: str, normal: float, fast: float) -> None:
    assert text_of(formula) == text
    assert resolve(formula, Env()) == pytest.approx(normal)
    assert resolve(formula, FAST) == pytest.approx(fast)


def test_ejection_follows_the_balancers_profile() -> None:
    assert resolve(ejection, Env(balancer=SLOW)) == 35


def test_a_plain_number_is_wall_seconds() -> None:
    assert resolve(3, FAST) == 3.0
    assert text_of(3) == "3 s"


@given(st.floats(0.05, 1.0), st.floats(0.1, 1000), st.floats(0.1, 1000))
def test_only_server_time_scales(scale: float, coder: float, people: float) -> None:
    env = Env(scale=scale)
    assert resolve(server(coder) + wall(people), env) == pytest.approx(coder * scale + people)


def test_every_named_duration_has_a_source_or_a_reason() -> None:
    named = [name for name, value in vars(timings).items() if isinstance(value, Formula)]
    assert {"N", "ejection", "replica_gone", "api_p95"} <= set(named)
    assert all(resolve(getattr(timings, name), Env()) > 0 for name in named)
