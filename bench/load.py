"""The load: what recording costs, what an open loop costs, how late it sends, and what it makes of a freeze.

The first two are ratios of requests per CPU second of the client, in one process: absolute figures change by half from
minute to minute on a shared machine. The recorder is switched on and off every 50 ms while the same users go on; users of
different kinds take turns of 80 ms. The server is Caddy's `respond`.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from bench.show import show
from harness import tools
from harness.load import LoadPlan
from harness.loadlog import requests, totals
from harness.local.ports import free_ports

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ROOT = Path(__file__).resolve().parents[1]
TURNS = 300
SLICES = 1000
SLOW_S = 0.05
FREEZE_S = 1.0
CADDYFILE = """{
	admin off
	auto_https off
	persist_config off
	log {
		output discard
	}
}
http://:%d {
	bind 127.0.0.1
	header X-Chaos-Upstream 127.0.0.1:8081
	header Content-Type application/json
	respond `{"message":"Buildinfo","version":"v2.20.0+bench"}`
}
"""
SLOW_SERVER = """
import asyncio, sys
ANSWER = b'HTTP/1.1 200 OK\\r\\nContent-Type: application/json\\r\\nContent-Length: 2\\r\\n\\r\\n{}'
async def handle(reader, writer):
    while await reader.readuntil(b'\\r\\n\\r\\n'):
        await asyncio.sleep(float(sys.argv[2]))
        writer.write(ANSWER)
async def main():
    async with await asyncio.start_server(handle, '127.0.0.1', int(sys.argv[1]), backlog=1000) as server:
        await server.serve_forever()
asyncio.run(main())
"""


def run(temp: Path) -> None:
    costs(temp)
    freeze(temp)
    for rate in (100, 500):
        lateness(temp, rate)


def costs(temp: Path) -> None:
    """Recorder on against off, and the open-loop user against Locust's own closed one."""
    (port,) = free_ports(1, range(20000, 30000))
    config = temp / "Caddyfile"
    config.write_text(CADDYFILE % port)
    server = [str(tools.caddy()), "run", "--config", str(config), "--adapter", "caddyfile"]
    with _process(server, GOMAXPROCS="1", HOME=str(temp)):
        _listening(port)
        command = [
            sys.executable,
            str(ROOT / "bench" / "load_turns.py"),
            f"http://127.0.0.1:{port}",
            str(TURNS),
            str(SLICES),
        ]
        env = os.environ | {"CODER_SESSION_TOKEN": "bench", "CHAOS_LOAD_RECORDS": str(temp / "turns.bin")}
        env["PYTHONPATH"] = os.pathsep.join([str(ROOT), str(ROOT / "loadtests")])
        out = subprocess.run(command, env=env, check=True, capture_output=True, text=True).stdout
    figures = json.loads(out.splitlines()[-1])
    for name, values in figures.items():
        show(f"  {name}, requests per CPU second", values, "1/s", "measured")
    fast, opened = figures["FastHttpUser"], figures["open, recorded"]
    pairs = zip(figures["recorder on"], figures["recorder off"], strict=True)
    show("recorder on / off", [on / off for on, off in pairs], "", ">= 0.97")
    show("open-loop user / Locust's FastHttpUser", [a / b for a, b in zip(opened, fast, strict=True)], "", ">= 0.8")


def freeze(temp: Path) -> None:
    """A server that takes 50 ms and is stopped for a second, at 100 arrivals/s: the records against the exact answer."""
    (port,) = free_ports(1, range(20000, 30000))
    with _process([sys.executable, "-c", SLOW_SERVER, str(port), str(SLOW_S)]) as server:
        _listening(port)
        with _load(temp / "freeze", port, 100) as records:
            began = _rolling(records)
            time.sleep(4.5)
            frozen = time.monotonic_ns()
            server.send_signal(signal.SIGSTOP)
            time.sleep(FREEZE_S)
            server.send_signal(signal.SIGCONT)
            thawed = time.monotonic_ns()
            time.sleep(4.5)
            ended = time.monotonic_ns()
            time.sleep(0.2)
    rows = [r for r in requests(records) if began <= r.intended < ended and not r.censored]
    seen = sorted((r.end - r.intended) / 1e6 for r in rows)
    true = sorted(_exact(r.intended, frozen, thawed) for r in rows)
    for p in (95, 99):
        a, b = (values[int(len(values) * p / 100)] for values in (seen, true))
        show(f"1 s freeze at 100/s: p{p} / exact ({b:.0f} ms, n={len(rows)})", [a / b], "", "0.97 to 1.03")


def lateness(temp: Path, rate: int) -> None:
    """How long after its due moment each arrival was sent, with nothing else to do."""
    (port,) = free_ports(1, range(20000, 30000))
    with _process([sys.executable, "-c", SLOW_SERVER, str(port), "0"]):
        _listening(port)
        with _load(temp / f"late-{rate}", port, rate) as records:
            began = _rolling(records)
            time.sleep(8)
    late = sorted((r.start - r.intended) / 1e6 for r in requests(records) if r.intended >= began)
    for p in (50, 99):
        show(f"lateness at {rate}/s, p{p} (n={len(late)})", [late[int(len(late) * p / 100)]], "ms", "p99 <= 5 ms")
    show("  arrivals dropped", [totals([records]).dropped], "", "0")


def _exact(due: int, frozen: int, thawed: int) -> float:
    """Milliseconds that the slow server makes of an arrival: what came before the freeze had its 50 ms running."""
    slow = SLOW_S * 1e9
    if due + slow < frozen or due >= thawed:
        return slow / 1e6
    return (max(due + slow, thawed) - due if due < frozen else thawed + slow - due) / 1e6


class _process:  # noqa: N801 - reads as a verb
    """A child that is gone at the end, frozen or not."""

    def __init__(self, command: Sequence[str], **env: str) -> None:
        self._command, self._env = command, os.environ | env

    def __enter__(self) -> subprocess.Popen[bytes]:
        self.child = subprocess.Popen(
            self._command, env=self._env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        return self.child

    def __exit__(self, *_: object) -> None:
        self.child.kill()
        self.child.wait()


class _load:  # noqa: N801 - reads as a verb
    """Arrivals at a rate, by Locust as the harness starts it; yields the records file."""

    def __init__(self, folder: Path, port: int, rate: int) -> None:
        folder.mkdir()
        tokens = folder / "tokens"
        tokens.write_text("bench\n")
        (self._process,) = LoadPlan(
            file=ROOT / "loadtests" / "arrivals.py",
            host=f"http://127.0.0.1:{port}",
            users=rate,
            spawn_rate=rate,
            processes=1,
            tokens_file=tokens,
            records_dir=folder,
            seed=1,
        ).children()

    def __enter__(self) -> Path:
        env, quiet = self._process.env | {"PYTHONPATH": str(ROOT)}, subprocess.DEVNULL
        self._child = subprocess.Popen(self._process.argv, env=env, cwd=self._process.cwd, stdout=quiet, stderr=quiet)
        return self._process.records

    def __exit__(self, *_: object) -> None:
        self._child.terminate()
        self._child.wait(timeout=20)


def _listening(port: int) -> None:

    for _ in _until(10):
        with socket.socket() as sock:
            if not sock.connect_ex(("127.0.0.1", port)):
                return


def _rolling(records: Path) -> int:
    """The moment, in monotonic ns, from which on all users are there."""
    for _ in _until(30):
        if records.is_file() and totals([records]).started > 20:
            break
    time.sleep(1.5)
    return time.monotonic_ns()


def _until(seconds: float) -> Iterator[None]:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        yield
        time.sleep(0.05)
    raise TimeoutError(f"not there within {seconds:g} s")
