"""The stack in containers: up and down with warm images, and from decision to effect beside docker's own commands."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import time
from typing import TYPE_CHECKING

from bench.show import show
from harness.backends import compose
from harness.config import load
from harness.errors import NotReady
from harness.stack import Context, StackRequest

if TYPE_CHECKING:
    from pathlib import Path

    from harness.containers.target import Container

ROUNDS = 3


def run(temp: Path) -> None:
    settings = load({}, {})
    try:
        compose.prepare(settings.cache_dir, lambda _: None)
    except NotReady as error:
        print(f"  not measured: {error}")
        return
    ups, downs = [], []
    deeds: dict[str, list[float]] = {}
    for number in range(ROUNDS + 1):
        directory = temp / f"stack-{number}"
        directory.mkdir()
        context = Context(
            f"bench{number}", directory, lambda _: None, lambda _: None, settings.cache_dir, temp / "state"
        )
        up, down = asyncio.run(_once(context, deeds))
        if number:  # the first one makes the images
            ups.append(up)
            downs.append(down)
    show("compose stack up, warm (3 replicas)", ups, "s", "<= 20 s")
    show("compose stack down", downs, "s", "<= 10 s")
    for name, values in deeds.items():
        show(name, values, "ms", "measured")


async def _once(context: Context, deeds: dict[str, list[float]]) -> tuple[float, float]:
    began = time.perf_counter()
    async with compose.open(StackRequest(offline=True), context) as stack:
        up = time.perf_counter() - began
        ours, theirs = stack.target("coder-1"), stack.target("coder-2")
        await _compare("kill", ours, theirs, "gone", deeds)
        await stack.arm("f1", time.monotonic_ns() + 10**12, [ours.undo_start(), theirs.undo_start()])
        await stack.undo("f1")
        await stack.ready("coder-1")
        await stack.ready("coder-2")
        await _compare("pause", ours, theirs, "frozen", deeds)
        for target in (ours, theirs):
            await target.signal("CONT")
        began = time.perf_counter()
    return up, time.perf_counter() - began


async def _compare(deed: str, ours: Container, theirs: Container, state: str, deeds: dict[str, list[float]]) -> None:
    """Time both from the decision until the engine says that it is so."""
    began = time.perf_counter()
    await ours.signal("KILL" if deed == "kill" else "STOP")
    while await ours.state() != state:
        pass
    deeds.setdefault(f"{deed}: decision to effect", []).append((time.perf_counter() - began) * 1e3)
    program = shutil.which("docker")
    if program is None:
        await theirs.signal("KILL" if deed == "kill" else "STOP")
        return
    began = time.perf_counter()
    host = f"unix://{theirs.docker.path}"
    subprocess.run([program, "--host", host, deed, theirs.member.container], check=True, capture_output=True)  # noqa: ASYNC221
    while await theirs.state() != state:
        pass
    deeds.setdefault(f"{deed}: the same by `docker {deed}`", []).append((time.perf_counter() - began) * 1e3)
