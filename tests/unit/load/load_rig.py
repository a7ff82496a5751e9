"""Starts load processes as the harness would, and ends them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from harness.load import LoadPlan, LoadProcess

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parents[3]
LOADTESTS = ROOT / "loadtests"
LOCUSTFILES = Path(__file__).parent / "locustfiles"
PATHS = os.pathsep.join([str(ROOT), str(LOADTESTS)])
"""So that the children import the harness and the load of this tree, wherever another one is installed."""


def make_plan(folder: Path, host: str, **changes: Any) -> LoadPlan:
    tokens = folder / "tokens"
    tokens.write_text("".join(f"token-{k}\n" for k in range(20)))
    plain: dict[str, Any] = {
        "file": LOADTESTS / "dashboard.py",
        "host": host,
        "users": 1,
        "spawn_rate": 100.0,
        "processes": 1,
        "tokens_file": tokens,
        "records_dir": folder,
        "seed": 7,
    }
    return LoadPlan(**plain | changes)


def start(process: LoadProcess, **env: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        process.argv,
        env=process.env | {"PYTHONPATH": PATHS} | env,
        cwd=process.cwd,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(child: subprocess.Popen[str], timeout: float = 60.0) -> tuple[int, str]:
    try:
        out, _ = child.communicate(timeout=timeout)
    finally:
        child.kill()
        child.wait()
    return child.returncode, out


class Ended(NamedTuple):
    """What children said until they ended, and how long that took from SIGTERM."""

    seconds: float
    said: list[str]


def terminate(children: list[subprocess.Popen[str]]) -> Ended:
    began = time.monotonic()
    for child in children:
        child.send_signal(signal.SIGTERM)
    said = [finish(child)[1] for child in children]
    return Ended(time.monotonic() - began, said)


def python(code: str) -> Any:
    """What a piece of code prints as JSON, in a process that may import Locust."""
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": PATHS}
    out = subprocess.run([sys.executable, "-c", code], env=env, check=True, capture_output=True, text=True, timeout=60)
    return json.loads(out.stdout)


def wait_for(condition: Callable[[], bool], seconds: float = 30.0, last: Callable[[], object] = str) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"timed out; last seen: {last()}"
        time.sleep(0.02)


def fixed_gets(folder: Path, host: str, paths: str, gets: int = 1, **env: str) -> tuple[int, str, Path]:
    """Run the locustfile of fixed requests to its end: exit code, output, records."""
    plan = make_plan(folder, host, file=LOCUSTFILES / "fixed_gets.py", connect_timeout_s=0.4, network_timeout_s=0.8)
    (process,) = plan.children()
    env |= {"PATHS": paths, "GETS": str(gets)}
    code, out = finish(start(process, **env))
    return code, out, process.records


def virtual_user(visits: int, status: str, **env: str) -> list[tuple[float, str]]:
    """What a dashboard user asks for in virtual time."""
    env |= {"PATH": os.environ["PATH"], "PYTHONPATH": PATHS, "CODER_SESSION_TOKEN": "t"}
    command = [sys.executable, str(LOCUSTFILES / "virtual_user.py"), str(visits), status]
    out = subprocess.run(command, env=env, check=True, capture_output=True, text=True, timeout=60).stdout
    return [(at, route) for at, route in json.loads(out)]
