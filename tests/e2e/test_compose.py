"""The stack in containers from the command line: files that Compose takes, a run, somebody's own project, bad input."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from contextlib import contextmanager
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import crash_engine
import crash_lab as lab
import httpx
import pytest
from crash_lab import Case
from engine_marks import needs_engine

from harness.clients.docker import socket_path
from harness.config import Settings
from harness.containers import plugin

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.e2e, needs_engine()]

COMPOSE = Path(__file__).resolve().parents[2] / "compose"
OVERLAYS = ("offline", "single-replica", "standby", "four-replicas")
MIXES = [
    mix for count in range(3) for mix in combinations(OVERLAYS, count) if mix != ("single-replica", "four-replicas")
]
QUICK = ["--set", "baseline=4s", "--set", "calm=2s", "--set", "recovery=30s"]
THEIRS = {"coder-1": "alpha", "coder-2": "beta", "coder-3": "gamma", "toxiproxy:": "pipe:", "balancer": "front"}


def compose(*argv: str, **env: str) -> str:
    clean = {"PATH": os.environ["PATH"], "HOME": os.environ["HOME"], "DOCKER_HOST": f"unix://{socket_path()}"}
    done = subprocess.run(
        [str(plugin.needed(Settings().cache_dir)), *argv],
        env=clean | env,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("mix", MIXES, ids=["+".join(mix) or "ha" for mix in MIXES])
def test_compose_takes_every_combination(mix: tuple[str, ...]) -> None:
    files = [part for name in ("ha", *mix) for part in ("--file", str(COMPOSE / f"{name}.yaml"))]
    env = {"CODER_IMAGE": "chaos-coder:local"} if "offline" in mix else {}
    made = json.loads(compose(*files, "config", "--format", "json", **env))
    coders = [name for name in made["services"] if name.startswith("coder-")]
    assert len(coders) == (1 if "single-replica" in mix else 4 if "four-replicas" in mix else 3)
    for number, name in enumerate(sorted(coders), 1):
        service = made["services"][name]
        assert service["labels"]["coder-chaos.replica"] == str(number)
        assert service["environment"]["CODER_DERP_SERVER_RELAY_URL"] == f"http://{name}:7080"
        assert service["image"].startswith("chaos-coder:" if "offline" in mix else "ghcr.io/coder/coder:v")
    assert ("database-standby" in made["services"]) == ("standby" in mix)
    upstreams = made["services"]["balancer"]["environment"]["CHAOS_UPSTREAMS"].split()
    assert upstreams == [f"{name}:7080" for name in sorted(coders)]


def run(folder: Path, *argv: str, **env: str) -> subprocess.CompletedProcess[str]:
    command = ["run", "-s", "replica-kill", "--stack", "compose", "--runs-dir", str(folder / "runs"), *QUICK, *argv]
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("CHAOS_", "CODER_", "STANDIN_"))}
    return lab.cli(*command, env=clean | {"CHAOS_STATE_DIR": str(folder / "state")} | env, timeout_s=400)


def assert_passed(done: subprocess.CompletedProcess[str]) -> None:
    """It passed, or the machine was too busy to tell."""
    busy = done.returncode == 3 and "\n  why: machine: " in done.stdout
    assert done.returncode == 0 or busy, done.stdout + done.stderr


def test_a_scenario_passes_in_containers_and_leaves_nothing(tmp_path: Path) -> None:
    lab.warm_images()
    done = run(tmp_path, "--offline")  # in real time
    assert_passed(done)
    assert crash_engine.left_of(tmp_path / "runs") == []
    directory = next(path for path in (tmp_path / "runs").iterdir() if not path.is_symlink())
    assert "started HTTP listener" in (directory / "logs" / "coder-1.log").read_text()


@contextmanager
def theirs(folder: Path) -> Iterator[str]:
    """A project in a folder of its own, with names of its own, that is not ours; gives the address of its front door."""
    images = lab.warm_images()
    for name in ("ha.yaml", "offline.yaml", "toxiproxy.json", "Caddyfile"):
        text = (COMPOSE / name).read_text()
        for ours, own in THEIRS.items():
            text = text.replace(ours, own)
        text = text.replace("role: front", "role: balancer")
        text = text.replace("  CODER_HTTP_ADDRESS", '  STANDIN_TIME_SCALE: "0.25"\n  CODER_HTTP_ADDRESS')
        (folder / name).write_text(text)
    parts = {f"CHAOS_{part.upper()}_IMAGE": images[part] for part in ("postgres", "toxiproxy", "caddy")}
    env = {"CODER_IMAGE": images["coder"], "CHAOS_PORT": "19099", **parts}
    argv = ["--project-name", "theirs", "--file", str(folder / "ha.yaml"), "--file", str(folder / "offline.yaml")]
    try:
        compose(*argv, "up", "--wait", **env)
        yield "http://127.0.0.1:19099"
    finally:
        compose(*argv, "down", "--volumes", "--timeout", "2", **env)
        shutil.rmtree(folder)


def test_a_project_of_somebody_else_is_attacked_by_its_labels_alone(tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir()
    with theirs(tmp_path / "theirs") as url, httpx.Client(base_url=f"{url}/api/v2", timeout=10) as api:
        owner = {"email": "o@theirs.invalid", "username": "owner", "password": "Th31rs!Th31rs!"}
        assert api.post("/users/first", json={**owner, "trial": False}).status_code == 201
        token = api.post("/users/login", json=owner).json()["session_token"]
        api.cookies.clear()
        before = lives()
        argv = ["--project", "theirs", "--seed", "3", "--time-scale", "0.25"]
        refused = run(tmp_path, *argv, CODER_SESSION_TOKEN=token)
        assert refused.returncode == 2, refused.stderr
        assert "kill is not allowed on a project that is not ours: --allow kill" in refused.stderr
        assert lives() == before
        done = run(tmp_path, *argv, "--allow", "kill", CODER_SESSION_TOKEN=token)
        # At a quarter of the time, half a second in which the engine kills is too long for some bounds: no FAIL is asked for.
        assert done.returncode in (0, 3), done.stdout + done.stderr
        assert "proven healed" in done.stdout
        changed = {name for name, life in lives().items() if life != before[name]}
        hurt = {
            f"theirs-{THEIRS[name]}-1" for name in ("coder-1", "coder-2", "coder-3") if f"kill on {name}" in done.stdout
        }
        assert len(hurt) == 1
        assert changed == hurt
        assert lives().keys() == before.keys()
        users = api.get("/users", headers={"Coder-Session-Token": token}).json()["users"]
        assert [user["username"] for user in users] == ["owner"], "what a run makes bears its id and is gone"


def lives() -> dict[str, str]:
    """When each container of the project began, if it runs."""
    api = crash_engine.client()
    try:
        rows = api.containers(all=True, filters={"label": f"{crash_engine.PROJECT}=theirs"})
        found: dict[str, Any] = {row["Names"][0].lstrip("/"): api.inspect_container(row)["State"] for row in rows}
        return {name: f"{state['Status']} {state['StartedAt']}" for name, state in found.items()}
    finally:
        api.close()


BAD = {
    "no-engine": (
        {"DOCKER_HOST": "unix:///nonexistent/d.sock"},
        {},
        ["no Docker engine: /nonexistent/d.sock does not exist"],
    ),
    "far-engine": ({"DOCKER_HOST": "tcp://10.0.0.1:2375"}, {}, ["only an engine on this machine will do"]),
    "no-plugin": (
        {"CHAOS_CACHE_DIR": "{folder}", "HOME": "{folder}", "PATH": "/nonexistent"},
        {"harness.containers.plugin:_SYSTEM": []},
        ["Docker's Compose plugin is missing", "doctor --build-compose"],
    ),
    "no-image": ({"CODER_IMAGE": "chaos-nothing:none"}, {}, ["an image is missing", "chaos-nothing:none"]),
    "dies": ({"CODER_IMAGE": "{caddy}"}, {}, ["died while starting, with 1. Its last lines:", "maxprocs"]),
    "two": ({"CHAOS_REPLICAS": "2"}, {}, ["the compose stack has 1, 3, 4 replicas, not 2"]),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_line_and_leaves_nothing(name: str, tmp_path: Path) -> None:
    env, patch, texts = BAD[name]
    known = {"folder": str(tmp_path), "caddy": lab.warm_images()["caddy"]}
    case = Case(
        name,
        env={key: value.format(**known) for key, value in env.items()},
        settings={"stack": "compose", "offline": "true", "replicas": env.get("CHAOS_REPLICAS", "3")},
        orders={"patch": patch},
        engine=True,
    )
    result = lab.play(case, tmp_path)
    assert (result.code, result.hung, result.left) == (5, False, []), result.told()
    assert "Traceback" not in result.err
    assert "STDERR" not in result.err, "what a library logs is not for people"
    said = result.err[result.err.index("coder-chaos: ") :]
    assert [text for text in texts if text not in said] == [], said
    assert result.registrations == []
