"""The meter as a child process: plan on stdin, live counters on stdout, records in the run directory."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import anyio

from harness.discover import data_root
from harness.errors import HarnessError
from harness.local.process import clean_env
from harness.probes.kinds import kinds
from harness.safety import proc
from harness.safety.spec import Spec
from harness.upstreams import HEADER

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from harness.local.process import Site
    from harness.stack import Address, LaneSpec, MeterPlan, WatcherSpec

NAME = "meter"
_SILENT_S = 15.0


class LocalMeter:
    """A running meter process."""

    def __init__(self, reader: asyncio.StreamReader, site: Site) -> None:
        self._reader = reader
        self._site = site

    async def tick(self) -> Mapping[str, Any]:
        """Next live line; raises HarnessError with the meter's last words when it died or went silent."""
        line = b""
        with anyio.move_on_after(_SILENT_S):
            line = await self._reader.readline()
        if not line:
            raise HarnessError(f"the meter stopped reporting. {self._site.tail(NAME)}")
        return json.loads(line)  # type: ignore[no-any-return]


@asynccontextmanager
async def start_meter(
    site: Site, plan: MeterPlan, address: Callable[[str], Address], upstream_ports: Mapping[str, int]
) -> AsyncIterator[LocalMeter]:
    """Start the meter; leaving closes its stdin (its sign to finish) and waits until its files are complete."""
    upstreams = {"upstream_header": HEADER, "upstream_ports": dict(upstream_ports)}
    text = json.dumps(_plan(site, plan, address) | upstreams) + "\n"
    stdin_r, stdin_w = os.pipe()
    stdout_r, stdout_w = os.pipe()
    transport = None
    try:
        env = clean_env({"PYTHONPATH": str(data_root())} if (data_root() / "harness").is_dir() else None)
        argv = (sys.executable, "-m", "harness.probes.meter")
        await site.spawn(Spec(NAME, argv, env, stdin=0, stdout=1), (stdin_r, stdout_w))
        os.close(stdin_r)
        os.close(stdout_w)
        stdin_r = stdout_w = -1
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader()
        pipe = os.fdopen(stdout_r, "rb")
        transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), pipe)
        stdout_r = -1
        await asyncio.to_thread(_write, stdin_w, text.encode())
        meter = LocalMeter(reader, site)
        first = await meter.tick()
        if not first.get("ready"):
            raise HarnessError(f"the meter did not start. {site.tail(NAME)}")
        yield meter
    finally:
        with anyio.CancelScope(shield=True):
            for fd in (stdin_r, stdin_w, stdout_w):
                if fd >= 0:
                    os.close(fd)
            if NAME in site.keeper.processes:
                await _ended(site)
            if transport is not None:
                transport.close()
            elif stdout_r >= 0:
                os.close(stdout_r)


async def _ended(site: Site) -> None:
    with anyio.move_on_after(5):
        while proc.state(site.keeper.processes[NAME]) != "gone":  # noqa: ASYNC110 - the kernel sends us no event
            await anyio.sleep(0.02)
        return
    await site.keeper.stop(NAME, timeout_s=1)


def _write(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]


def _plan(site: Site, plan: MeterPlan, address: Callable[[str], Address]) -> dict[str, Any]:
    front = address("balancer")
    return {
        "v": 1,
        "dir": str(site.context.directory),
        "deadline_ms": plan.deadline_ms,
        "lanes": [_lane(lane, address(lane.target)) for lane in plan.lanes],
        "watchers": [_watcher(watcher, front) for watcher in plan.watchers],
        "herd_step_ms": plan.herd_step_ms,
        "herd_at_once": plan.herd_at_once,
        "seed": plan.seed,
        "priority": -10,
    }


def _lane(lane: LaneSpec, at: Address) -> dict[str, Any]:
    return {
        "id": lane.id,
        "target": lane.target,
        "host": at.host,
        "port": at.port,
        "mode": lane.kind if lane.kind in ("pinned", "ws") else "fresh",
        "path": lane.path,
        "rate_hz": lane.rate_hz,
        "headers": {"Coder-Session-Token": lane.token} if lane.token else {},
        "expect_body": None if lane.kind == "ws" else lane.expect,
    }


def _watcher(watcher: WatcherSpec, at: Address) -> dict[str, Any]:
    """Name what a session needs; how often it dials, pings and speaks are the meter's defaults unless it says so."""
    return {
        "id": watcher.id,
        "host": at.host,
        "port": at.port,
        "kind": watcher.kind,
        "path": kinds()[watcher.kind].path.format(workspace=watcher.workspace),
        "headers": {"Coder-Session-Token": watcher.token, **watcher.headers},
        "policy": watcher.policy,
        **watcher.options,
    }
