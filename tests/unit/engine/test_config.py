from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.config import Settings, load, parse_duration, parse_ports
from harness.errors import UsageError


def refused(environ: dict[str, str], flags: dict[str, object], pairs: dict[str, str] | None = None) -> str:
    with pytest.raises(UsageError) as caught:
        load(environ, flags, pairs)
    return str(caught.value)


def test_flags_win_over_the_environment_and_that_over_defaults() -> None:
    settings = load({"CHAOS_REPLICAS": "4", "CHAOS_BASELINE": "3s", "OTHER": "x"}, {"replicas": "5"})
    assert (settings.replicas, settings.baseline, settings.watchers) == (5, 3.0, Settings().watchers)


def test_a_stack_grows_to_what_a_scenario_needs_but_not_past_what_was_asked_for() -> None:
    assert load({}, {}).sized_for("x", 4).replicas == 4
    assert load({}, {"replicas": "5"}).sized_for("x", 4).replicas == 5
    with pytest.raises(UsageError, match="scenario x needs 4 replicas, the run has 3; --replicas 4"):
        load({"CHAOS_REPLICAS": "3"}, {}).sized_for("x", 4)


def test_an_unknown_key_names_the_nearest() -> None:
    assert (
        refused({"CHAOS_REPLICA": "4"}, {}) == "environment: unknown key CHAOS_REPLICA (did you mean 'CHAOS_REPLICAS'?)"
    )
    assert refused({}, {}, {"base-line": "3s"}) == "--set: unknown key 'base-line' (did you mean 'baseline'?)"


def test_every_problem_is_told_at_once_with_its_place() -> None:
    text = refused({"CHAOS_REPLICAS": "1", "CHAOS_QQQQQQ": "1", "CHAOS_HOLD": "5 parsecs"}, {"ports": "1-2"})
    lines = text.splitlines()
    assert len(lines) == 4
    assert "environment: unknown key CHAOS_QQQQQQ" in lines
    assert "environment: CHAOS_HOLD: '5 parsecs': unknown unit 'parsecs'; known: ms, s, m, h" in lines
    assert "--ports: '1-2' is not a range of ports between 1024 and 65535; write it as 20000-29999" in lines
    assert any(line.startswith("environment: CHAOS_REPLICAS: ") and "got '1'" in line for line in lines)


def test_a_project_needs_its_backend_and_a_token_that_no_log_holds() -> None:
    pairs = {"stack": "compose", "project": "theirs", "allow": "kill,freeze"}
    assert "add --stack compose" in refused({"CODER_SESSION_TOKEN": "t"}, {"project": "theirs"})
    assert "set CODER_SESSION_TOKEN" in refused({}, dict(pairs))
    settings = load({"CODER_SESSION_TOKEN": "s3cret"}, dict(pairs))
    assert (settings.session_token, settings.limits.allow) == ("s3cret", {"kill", "freeze"})
    assert "s3cret" not in f"{settings.logged()} {settings!r}"
    assert settings.logged()["allow"] == ["freeze", "kill"]
    assert load({}, {}).limits.allow is None


def test_variables_of_the_compose_files_are_no_settings() -> None:
    assert load({"CHAOS_POSTGRES_IMAGE": "postgres:17", "CHAOS_TELEMETRY": "true"}, {}).stack == "local"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("5", "has no unit; write 5s or 5ms"),
        ("5parsecs", "unknown unit 'parsecs'; known: ms, s, m, h"),
        ("soon", "is not a duration; write it as 500ms, 15s or 2m"),
        ("-3s", "is not a duration"),
        ("", "is not a duration"),
    ],
)
def test_a_wrong_duration_says_how_to_write_it(text: str, says: str) -> None:
    assert says in refused({}, {"hold": text})


@given(st.integers(0, 10**6), st.sampled_from([("ms", 0.001), ("s", 1.0), ("m", 60.0), ("h", 3600.0)]))
def test_durations(number: int, unit: tuple[str, float]) -> None:
    assert parse_duration(f"{number}{unit[0]}") == pytest.approx(number * unit[1])
    assert parse_duration(f" {number} {unit[0]} ") == pytest.approx(number * unit[1])


@pytest.mark.parametrize("text", ["20000", "30000-20000", "80-90", "1024-70000", "a-b", "1-2-3"])
def test_a_wrong_range_of_ports_is_refused(text: str) -> None:
    assert "write it as 20000-29999" in refused({"CHAOS_PORTS": text}, {})


def test_ports_hold_both_ends() -> None:
    assert parse_ports("20000-20002") == range(20000, 20003)


def test_an_unknown_stack_is_refused() -> None:
    assert "--stack" in refused({}, {"stack": "cloud"})


def test_the_header_holds_no_folder() -> None:
    logged = Settings().logged()
    assert not {"runs_dir", "cache_dir", "state_dir"} & set(logged)
    assert logged["ports"] == "20000-29999"
