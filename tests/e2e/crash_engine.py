"""What of a run is on the Docker engine, and what is done to the engine itself."""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING

import docker
import docker.errors
import requests

from harness.clients.docker import socket_path
from harness.safety import proc
from harness.safety.engine import Engine

if TYPE_CHECKING:
    from pathlib import Path

PROJECT = "com.docker.compose.project"
FILES = "com.docker.compose.project.config_files"
ENGINE = "TEST_ENGINE"
"""Environment variable with the process that owns the engine, as `pid@start`; only that one may be restarted."""


def client() -> docker.APIClient:
    return docker.APIClient(base_url=f"unix://{socket_path()}", version="1.40", timeout=30)


def parts_of(project: str) -> list[str]:
    """One line for each container, network and volume of a project; an engine that is away has kept everything."""
    api, wanted = client(), {"label": f"{PROJECT}={project}"}
    try:
        found = [f"container {row['Names'][0]}" for row in api.containers(all=True, filters=wanted)]
        found += [f"network {row['Name']}" for row in api.networks(filters=wanted)]
        return found + [f"volume {row['Name']}" for row in api.volumes(filters=wanted)["Volumes"] or []]
    except (docker.errors.DockerException, requests.RequestException) as error:
        return [f"whatever is on an engine that does not answer: {error}"]
    finally:
        api.close()


def left_of(runs: Path) -> list[str]:
    """Parts of every run that has a directory in `runs`: its project is named after it."""
    if not runs.exists():
        return []
    ids = [path.name.rpartition("-")[2] for path in runs.iterdir() if path.is_dir() and not path.is_symlink()]
    return [part for run in ids for part in parts_of(f"chaos-{run}")]


def by_role(folder: Path, role: str) -> str:
    """Id of the container with a role, of the one project that was rendered below `folder`."""
    api = client()
    try:
        rows = api.containers(filters={"label": f"coder-chaos.role={role}"})
        return next(str(row["Id"]) for row in rows if row["Labels"][FILES].startswith(str(folder)))
    finally:
        api.close()


def do(deed: str, container: str) -> None:
    """Pause a container, or remove it under everybody's hands."""
    api = client()
    try:
        if deed == "pause":
            api.pause(container)
        else:
            api.remove_container(container, force=True)
    finally:
        api.close()


def owner() -> proc.ProcessRef | None:
    """Who owns the engine, where it may be restarted."""
    text = os.environ.get(ENGINE)
    return proc.ProcessRef.parse(text) if text else None


def restart() -> float:
    """Have the engine restarted and wait until it is back; gives the moment on the monotonic clock."""
    process = owner()
    assert process is not None
    ends, gone = time.monotonic() + 60, False
    assert proc.send(process, signal.SIGUSR1)
    while time.monotonic() < ends:
        try:
            Engine(str(socket_path()), lambda: 0.05).ask("GET", "/version")
        except OSError:
            gone = True
        else:
            if gone:
                return time.monotonic()
        time.sleep(0.02)
    raise AssertionError("the engine is not back after a minute")
