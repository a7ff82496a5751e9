"""Runs the commands of `docs/load.md` and of every file of the load, all at once against one server."""

from __future__ import annotations

import ast
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
from typing import TYPE_CHECKING, NamedTuple

import httpx
from load_rig import LOADTESTS, PATHS, ROOT, finish, wait_for

from harness.loadlog import LoadTotals, totals

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from pathlib import Path

    from load_server import Api

DOCS = ROOT / "docs" / "load.md"
FILES = sorted(file.stem for file in LOADTESTS.glob("[a-z]*.py"))
USERS = 20
PATIENT = ("--stop-timeout", "20")
"""What is in flight at the end may end."""


class ByHand(NamedTuple):
    """What became of the runs, by their names: one per file, `page`, `master`, `worker-0` and `worker-1`."""

    folder: Path
    codes: dict[str, int]
    said: dict[str, str]
    records: dict[str, LoadTotals]
    """By the name of the records file: of a file, or `many-0` and `many-1` of the workers."""
    names: set[str]
    """What the records call the requests."""
    page: str
    swarmed: str


def example(file: str) -> list[str]:
    """The command in the docstring of a load file."""
    text = ast.get_docstring(ast.parse((LOADTESTS / f"{file}.py").read_text())) or ""
    (command,) = re.findall(r"^locust (.*)$", text, flags=re.MULTILINE)
    return shlex.split(command)


def documented() -> list[list[str]]:
    """The commands of the load's own page: headless, with a web page, master, worker."""
    return [shlex.split(line) for line in re.findall(r"^locust (.*)$", DOCS.read_text(), flags=re.MULTILINE)]


def by_hand(api: Api, folder: Path, lacking: Callable[[], Collection[str]]) -> ByHand:
    """Run them in `folder` until each has asked for something and nothing is lacking, then end them."""
    (folder / "loadtests").symlink_to(LOADTESTS)  # the commands are given from the project's folder
    (folder / "tokens").write_text("".join(f"many-{k}\n" for k in range(USERS)))
    page, bus = _free_port(), _free_port()
    runs = {}
    here = {"https://coder.example.com": api.url, "MASTER": "127.0.0.1", "200": str(USERS)}
    for file in FILES:
        words = [here.get(word, word) for word in example(file)]
        env = {"CODER_SESSION_TOKEN": file, "CHAOS_LOAD_RECORDS": str(folder / f"{file}.bin")}
        pace = "10" if file == "builds" else "1"  # its only user would hardly have begun
        runs[file] = _locust(folder, *words, *PATIENT, CHAOS_LOAD_PACE=pace, **env)
    headless, web_page, master, worker = ([here.get(word, word) for word in words] for words in documented())
    assert headless[:-2] == [here.get(word, word) for word in example("mixed")]  # that one runs already
    at_page = f"--web-host 127.0.0.1 --web-port {page}".split()
    runs["page"] = _locust(folder, *web_page, *at_page, CODER_SESSION_TOKEN="page")  # noqa: S106
    bind = f"--master-bind-host 127.0.0.1 --master-bind-port {bus} --only-summary".split()
    runs["master"] = _locust(folder, *master, *bind, *PATIENT)
    many = {"CHAOS_LOAD_TOKENS": str(folder / "tokens"), "CHAOS_LOAD_RECORDS": str(folder / "many-{worker}.bin")}
    for number in range(2):
        runs[f"worker-{number}"] = _locust(folder, *worker, "--master-port", bus, CHAOS_LOAD_PACE="5", **many)
    web = httpx.Client(base_url=f"http://127.0.0.1:{page}", timeout=10, trust_env=False)
    try:
        wait_for(lambda: _opens(web), 60)
        swarmed = web.post("/swarm", data={"user_count": "4", "spawn_rate": "4"}).text
        wait_for(lambda: _asked(api) >= {"page", "many", *FILES}, 60, lambda: _asked(api))
        wait_for(lambda: not lacking(), 60, lacking)
        text = web.get("/").text
    finally:
        web.close()
        for name, child in runs.items():
            if not name.startswith("worker"):  # they end with their master
                child.send_signal(signal.SIGTERM)
        said = {name: finish(child)[1] for name, child in runs.items()}
    codes = {name: child.returncode for name, child in runs.items()}
    counted = {file.stem: totals([file]) for file in folder.glob("*.bin")}
    names = {name for file in folder.glob("*.names.json") for name in json.loads(file.read_text())}
    return ByHand(folder, codes, said, counted, names, text, swarmed)


def _locust(folder: Path, *options: str, **env: str) -> subprocess.Popen[str]:
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": PATHS, "HOME": str(folder), **env}
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    return subprocess.Popen([sys.executable, "-m", "locust", *options], env=env, cwd=folder, text=True, **pipes)


def _free_port() -> str:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return str(sock.getsockname()[1])


def _asked(api: Api) -> set[str]:
    """Runs that have sent something, by their tokens."""
    return {seen.headers["coder-session-token"].partition("-")[0] for seen in list(api.seen)}


def _opens(web: httpx.Client) -> bool:
    try:
        return web.get("/").status_code == 200
    except httpx.TransportError:
        return False
