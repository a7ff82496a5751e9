"""What 1000 idle watchers cost our meter, beside the clients of `websockets` and aiohttp: memory and processor time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from bench.session_peers import PATH, PING_S
from bench.show import show
from harness.openfiles import raise_limit

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FEW, MANY = 10, 1000
WATCH_S = 5.0
ROUNDS = 3
CLIENTS = ("meter", "websockets", "aiohttp")
_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE") / 1024


@contextmanager
def child(*command: str) -> Iterator[subprocess.Popen[str]]:
    """A process that ends with its stdin."""
    process = subprocess.Popen(
        [sys.executable, *command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    )
    try:
        yield process
    finally:
        assert process.stdin is not None
        process.stdin.close()
        process.wait()


@contextmanager
def client(name: str, port: int, count: int, folder: Path) -> Iterator[int]:
    """Hold `count` sockets with one of the clients; gives its process id once each had its first message."""
    command = (
        ("-m", "harness.probes.meter")
        if name == "meter"
        else ("-m", "bench.session_peers", name, str(port), str(count))
    )
    with child(*command) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        if name == "meter":
            folder.mkdir(parents=True)
            like = {"host": "127.0.0.1", "port": port, "path": PATH, "ping_every_ms": PING_S * 1000}
            sessions = [{"id": f"w{n}", **like} for n in range(count)]
            plan = {"v": 1, "dir": str(folder), "deadline_ms": 1000, "watchers": sessions, "herd_step_ms": 1}
            process.stdin.write(json.dumps(plan) + "\n")
        for line in process.stdout:
            if line == "ready\n" or json.loads(line).get("live") == count:
                break
        drain = subprocess.Popen(["/bin/cat"], stdin=process.stdout, stdout=subprocess.DEVNULL)
        yield process.pid
    drain.wait()


def rss_kb(pid: int) -> float:
    with open(f"/proc/{pid}/statm", encoding="ascii") as file:  # noqa: PTH123
        return int(file.read().split()[1]) * _PAGE


def cpu_s(pid: int) -> float:
    with open(f"/proc/{pid}/stat", encoding="ascii") as file:  # noqa: PTH123
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def run(temp: Path) -> None:
    """Print kB per socket and share of a core, of all clients, in turns."""
    raise_limit()
    memory: dict[str, list[float]] = {name: [] for name in CLIENTS}
    cost: dict[str, list[float]] = {name: [] for name in CLIENTS}
    with child("-m", "bench.session_peers", "server") as server:
        assert server.stdout is not None
        port = int(server.stdout.readline())
        for turn in range(ROUNDS):
            for name in CLIENTS:
                with client(name, port, FEW, temp / f"{name}-{turn}-few") as pid:
                    few = rss_kb(pid)
                with client(name, port, MANY, temp / f"{name}-{turn}-many") as pid:
                    memory[name].append((rss_kb(pid) - few) / (MANY - FEW))
                    before, began = cpu_s(pid), time.monotonic()
                    time.sleep(WATCH_S)
                    cost[name].append(100 * (cpu_s(pid) - before) / (time.monotonic() - began))
    for name in CLIENTS:
        show(f"{name}: RSS per idle socket", memory[name], "kB", "<= 8 kB" if name == "meter" else "peer")
    for name in CLIENTS:
        show(
            f"{name}: {MANY} watchers that ping at {1 / PING_S:g} Hz",
            cost[name],
            "%",
            "<= 16 %" if name == "meter" else "peer",
        )
