from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import pytest
from load_rig import LOADTESTS, python

sys.path.append(str(LOADTESTS))  # of the load, this is the module that needs no Locust
from _settings import Settings

if TYPE_CHECKING:
    from pathlib import Path

TOKEN = {"CODER_SESSION_TOKEN": "t"}


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("CHAOS_LOAD_PACE", "0", "CHAOS_LOAD_PACE must be above 0 requests per second, not 0"),
        ("CHAOS_LOAD_PACE", "fast", "CHAOS_LOAD_PACE must be a number, not 'fast'"),
        ("CHAOS_LOAD_CONNECT_TIMEOUT", "-1", "CHAOS_LOAD_CONNECT_TIMEOUT must be above 0 seconds, not -1"),
        ("CHAOS_LOAD_NETWORK_TIMEOUT", "5s", "CHAOS_LOAD_NETWORK_TIMEOUT must be a number, not '5s'"),
        ("CHAOS_LOAD_IN_FLIGHT", "0.5", "CHAOS_LOAD_IN_FLIGHT must be at least 1 requests, not 0.5"),
        (
            "CHAOS_LOAD_UPSTREAM_PORTS",
            "a:1=0",
            "CHAOS_LOAD_UPSTREAM_PORTS must be HOST:PORT=PORT with spaces between, 'a:1=0'",
        ),
        ("CODER_SESSION_TOKEN", "", "no session token: neither CHAOS_LOAD_TOKENS nor CODER_SESSION_TOKEN is set"),
    ],
)
def test_a_wrong_setting_names_itself(key: str, value: str, said: str) -> None:
    with pytest.raises(ValueError, match=f"^{said}"):
        Settings.of(TOKEN | {key: value})


def test_ports_of_replicas_that_share_one() -> None:
    ports = Settings.of(TOKEN | {"CHAOS_LOAD_UPSTREAM_PORTS": "coder-1:7080=20001 [::1]:7080=20002"}).upstream_ports
    assert ports == {"coder-1:7080": 20001, "[::1]:7080": 20002}


def test_defaults() -> None:
    settings = Settings.of(TOKEN)
    assert (settings.connect_timeout, settings.network_timeout, settings.in_flight, settings.pace) == (5, 10, 10, 1)


def test_an_empty_tokens_file(tmp_path: Path) -> None:
    (tmp_path / "tokens").touch()
    with pytest.raises(ValueError, match=r"^no session token: .*tokens is empty"):
        Settings.of(TOKEN | {"CHAOS_LOAD_TOKENS": str(tmp_path / "tokens")})


def test_workers_have_blocks_of_numbers_and_files_of_their_own() -> None:
    settings = Settings.of(TOKEN | {"CHAOS_LOAD_RECORDS": "/r/load-{worker}.bin", "CHAOS_LOAD_FIRST_USER": "5"})
    assert [settings.first_of(worker) for worker in (None, 0, 1, 2)] == [5, 5, 10_005, 20_005]
    assert [str(settings.records_of(worker)) for worker in (None, 0, 1)] == [
        "/r/load-0.bin",
        "/r/load-0.bin",
        "/r/load-1.bin",
    ]
    by_pid = Settings.of(TOKEN | {"CHAOS_LOAD_RECORDS": "/r/{pid}.bin"})
    assert str(by_pid.records_of(3)) == f"/r/{os.getpid()}.bin"
    assert Settings.of(TOKEN).records_of(0) is None


def test_workers_that_would_share_a_file_are_refused() -> None:
    settings = Settings.of(TOKEN | {"CHAOS_LOAD_RECORDS": "/r/load.bin"})
    assert str(settings.records_of(None)) == "/r/load.bin"
    with pytest.raises(ValueError, match=r"^CHAOS_LOAD_RECORDS is '/r/load.bin', the same file for every worker: put"):
        settings.records_of(0)


TABLES = """
import json, random
from locust import stats
import _tables
values = [0.004, 0.129, 1.239, 9.999, 14.76, 99.99, 147, 999.9, 1050.2, 9999, 58760, 123456]
before = [stats.bucket_response_time(v) for v in values]
_tables.install()
after = [stats.bucket_response_time(v) for v in values]
entry = stats.RequestStats().get("x", "GET")
times = [random.Random(7).lognormvariate(5, 2) for _ in range(2000)]
for t in times: entry.log(t, 0)
quantiles = [entry.get_response_time_percentile(q) for q in (0.5, 0.95, 0.99, 1.0)]
del stats.bucket_response_time
try: _tables.install()
except ImportError as error: gone = str(error)
print(json.dumps([before, after, quantiles, max(times), entry.max_response_time, gone]))
"""


def test_tables_have_three_digits_and_no_percentile_above_the_maximum() -> None:
    before, after, quantiles, true_max, max_seen, gone = python(TABLES)
    assert before == [0, 0, 1, 10, 15, 100, 150, 1000, 1100, 10000, 59000, 123000]
    assert after == [0, 0.12, 1.23, 9.99, 14.7, 99.9, 147, 999, 1050, 9990, 58700, 123000]
    assert quantiles[-1] <= max_seen == true_max
    assert quantiles[-1] > 0.99 * true_max
    assert "locust no longer rounds response times with stats.bucket_response_time" in gone
