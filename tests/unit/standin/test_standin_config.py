from collections.abc import Callable

import pytest
from standin.bugs import BUGS, parse_bugs
from standin.cli import main
from standin.clock import Clock
from standin.config import ConfigError, go_duration, load
from standin.errors import ApiError
from standin.passwords import weak_because
from standin.ratelimit import RateLimiter

REQUIRED = {"CODER_ACCESS_URL": "http://lb:8080", "CODER_PG_CONNECTION_URL": "postgres://u@h:5432/coder"}


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("10m", 600.0), ("15s", 15.0), ("15ms", 0.015), ("1h30m", 5400.0), ("1.5s", 1.5), ("0", 0.0)],
)
def test_go_durations(text: str, seconds: float) -> None:
    assert go_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "10", "m", "10 m", "-5s", "5d"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="not a Go duration"):
        go_duration(text)


def test_defaults_are_those_of_coder() -> None:
    made = load(REQUIRED)
    assert (made.host, made.port, made.pool_max, made.daemons) == ("127.0.0.1", 3000, 10, 3)
    assert (made.rate_limit, made.health_refresh, made.threshold_database) == (512, 600.0, 0.015)
    assert (made.scale, made.bugs) == (1.0, frozenset())


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"CODER_ACCESS_URL": ""}, "CODER_ACCESS_URL is required"),
        ({"CODER_PG_CONNECTION_URL": ""}, "CODER_PG_CONNECTION_URL is required"),
        ({"CODER_PG_CONNECTION_URL": "mysql://x"}, "must be a postgres:// URL"),
        ({"CODER_HTTP_ADDRESS": "here"}, "CODER_HTTP_ADDRESS must be host:port"),
        ({"CODER_PROVISIONER_DAEMONS": "many"}, "CODER_PROVISIONER_DAEMONS must be a whole number"),
        ({"CODER_HEALTH_CHECK_REFRESH": "soon"}, "CODER_HEALTH_CHECK_REFRESH must be a duration"),
        ({"CODER_VERBOSE": "perhaps"}, "CODER_VERBOSE must be true or false"),
        ({"STANDIN_TRIPS_PER_QUERY": "3"}, "STANDIN_TRIPS_PER_QUERY must be from 1 to 2"),
        ({"STANDIN_TIME_SCALE": "0"}, "STANDIN_TIME_SCALE must be a number"),
    ],
)
def test_bad_settings_name_their_variable(change: dict[str, str], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        load(REQUIRED | change)


def test_every_bug_has_a_docstring_and_a_known_name() -> None:
    assert parse_bugs(" , ".join(BUGS)) == BUGS.keys()
    assert all(text.endswith(".") for text in BUGS.values())


def _run(
    environ: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> tuple[int, str]:
    for name in (*REQUIRED, "STANDIN_BUGS"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    return main(["server"]), capsys.readouterr().err


def test_an_unknown_bug_is_exit_2(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    code, text = _run(REQUIRED | {"STANDIN_BUGS": "slow-commit,typo"}, monkeypatch, capsys)
    assert code == 2
    assert text.count("\n") == 1
    assert "typo" in text
    assert all(name in text for name in BUGS)


@pytest.mark.parametrize("missing", REQUIRED)
def test_a_missing_setting_is_exit_1(
    missing: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rest = {name: value for name, value in REQUIRED.items() if name != missing}
    code, text = _run(rest, monkeypatch, capsys)
    assert (code, text.count("\n")) == (1, 1)
    assert missing in text


def test_version_says_what_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == main(["version"]) == 0
    assert "not Coder" in capsys.readouterr().out
    assert main(["serve"]) == 2


def test_one_scale_for_server_time() -> None:
    assert Clock(0.1).server(15.0) == pytest.approx(1.5)


@pytest.mark.parametrize("password", ["", "password", "aaaaaaaaaaaaaaaaaaaa", "12345678", "x" * 65])
def test_weak_passwords(password: str) -> None:
    assert weak_because(password)


def test_a_strong_password() -> None:
    assert not weak_because("SomeSecurePassword!1")


def _limiter(moment: float) -> tuple[RateLimiter, Callable[[float], None]]:
    clock = [moment]
    return RateLimiter(off=False, now=lambda: clock[0]), lambda seconds: clock.__setitem__(0, clock[0] + seconds)


def test_rate_limit_slides_over_the_minute() -> None:
    limiter, wait = _limiter(6000.0)
    for left in (1, 0):
        assert limiter.take("u", "/p", 2)["X-RateLimit-Remaining"] == str(left)
    with pytest.raises(ApiError) as caught:
        limiter.take("u", "/p", 2)
    assert caught.value.status == 429
    assert caught.value.message == "You've been rate limited for sending more than 2 requests in 1m0s."
    assert caught.value.headers["Retry-After"] == "60"
    assert limiter.take("other", "/p", 2)
    assert limiter.take("u", "/other", 2)
    wait(61.0)  # nearly all of the last minute's two still count
    with pytest.raises(ApiError):
        limiter.take("u", "/p", 2)
    wait(60.0)
    assert limiter.take("u", "/p", 2)


def test_a_negative_limit_is_none() -> None:
    limiter, _ = _limiter(6000.0)
    assert limiter.take("u", "/p", -1) == {}
    assert RateLimiter(off=True).take("u", "/p", 0) == {}
