from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from load_rig import make_plan

from harness.errors import UsageError
from harness.load import SIZES, users_for

if TYPE_CHECKING:
    from pathlib import Path


def test_users_are_split_and_numbered_without_gaps(tmp_path: Path) -> None:
    children = make_plan(tmp_path, "http://h", users=20, spawn_rate=10.0, processes=3).children()
    users = [int(child.argv[child.argv.index("--users") + 1]) for child in children]
    rates = [float(child.argv[child.argv.index("--spawn-rate") + 1]) for child in children]
    assert [child.name for child in children] == ["load-0", "load-1", "load-2"]
    assert users == [6, 7, 7]
    assert sum(rates) == pytest.approx(10.0)
    assert [child.env["CHAOS_LOAD_FIRST_USER"] for child in children] == ["0", "6", "13"]
    assert [child.records for child in children] == [tmp_path / f"load-{k}.bin" for k in range(3)]


def test_no_process_is_left_without_a_user(tmp_path: Path) -> None:
    assert len(make_plan(tmp_path, "http://h", users=2, processes=5).children()) == 2


def test_environment_is_complete_and_clean(tmp_path: Path) -> None:
    caller = {
        "PATH": "/bin",
        "HOME": "/home/me",
        "LANG": "C.UTF-8",
        "CODER_SESSION_TOKEN": "secret",
        "CODER_URL": "u",
        "LOCUST_USERS": "999",
        "CHAOS_LOAD_BYPASS": "1",
        "PYTHONPATH": "/elsewhere",
    }
    known = {"coder-1:7080": 20001, "coder-2:7080": 20002}
    (child,) = make_plan(tmp_path, "http://h", upstream_ports=known).children(caller)
    assert child.env == {
        "PATH": "/bin",
        "HOME": "/home/me",
        "LANG": "C.UTF-8",
        "CHAOS_LOAD_TOKENS": str(tmp_path / "tokens"),
        "CHAOS_LOAD_RECORDS": str(tmp_path / "load-0.bin"),
        "CHAOS_LOAD_SEED": "7",
        "CHAOS_LOAD_PACE": "1.0",
        "CHAOS_LOAD_FIRST_USER": "0",
        "CHAOS_LOAD_CONNECT_TIMEOUT": "5.0",
        "CHAOS_LOAD_NETWORK_TIMEOUT": "10.0",
        "CHAOS_LOAD_UPSTREAM_HEADER": "X-Chaos-Upstream",
        "CHAOS_LOAD_UPSTREAM_PORTS": "coder-1:7080=20001 coder-2:7080=20002",
    }


def test_command_is_one_nice_headless_process_that_ends_in_time(tmp_path: Path) -> None:
    (child,) = make_plan(tmp_path, "http://h").children({})
    assert child.argv[:6] == ("nice", "-n", "5", sys.executable, "-m", "locust")
    assert "--headless" in child.argv
    assert "--processes" not in child.argv
    assert child.argv[child.argv.index("--exit-code-on-error") + 1] == "0"
    assert child.argv[child.argv.index("--stop-timeout") + 1] == "3"
    assert child.cwd == tmp_path


def test_bypass_only_when_asked_for(tmp_path: Path) -> None:
    (child,) = make_plan(tmp_path, "http://h", bypass_rate_limit=True).children({})
    assert child.env["CHAOS_LOAD_BYPASS"] == "1"


@pytest.mark.parametrize(
    "field", ["users", "spawn_rate", "processes", "pace", "connect_timeout_s", "network_timeout_s"]
)
def test_a_load_of_nothing_is_refused(tmp_path: Path, field: str) -> None:
    with pytest.raises(UsageError, match=f"^load: {field} must be above 0, not 0$"):
        make_plan(tmp_path, "http://h", **{field: 0})


def test_sizes() -> None:
    assert {size: users_for(size) for size in SIZES} == {
        "dev": 20,
        "nightly": 60,
        "gameday": 180,
        "gameday-2000": 300,
        "gameday-3000": 550,
    }


def test_no_locust_in_our_process() -> None:
    code = "import sys, harness.load; sys.exit(any(m.split('.')[0] in ('locust', 'gevent') for m in sys.modules))"
    subprocess.run([sys.executable, "-c", code], check=True)
