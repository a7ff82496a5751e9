"""What a request costs its client: our meter and engine beside others, on one server, alternating in one run.

The server has a core of its own, and so have the clients, one at a time. Two questions: how much of a core do 600 fresh
probes per second take, and how many requests on kept connections does a second of processor time buy?
"""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.client_peers import CONNECTIONS, RATE
from bench.show import show

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROUNDS = 3
SECONDS = 3.0
LANES = 8
SERVER_CORE, CLIENT_CORE = "0", "1"
WRK = shutil.which("wrk")


def on_core(core: str) -> list[str]:
    """Prefix that pins a command to a core, empty where that cannot be had."""
    return ["taskset", "-c", core] if shutil.which("taskset") and (os.cpu_count() or 1) > 1 else []


@contextmanager
def server(temp: Path) -> Iterator[int]:
    """Something fast that answers 200, on one core; gives its port. nginx if it is there, else Caddy, which always is."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    if nginx := shutil.which("nginx"):
        conf = temp / "nginx.conf"
        conf.write_text(
            f"daemon off; master_process off; pid {temp}/pid; error_log /dev/null; events {{ worker_connections 4096; }}"
            f" http {{ access_log off; keepalive_requests 100000000; server {{ listen 127.0.0.1:{port} backlog=4096;"
            ' location / { return 200 "OK"; } } }'
        )
        command, name = [nginx, "-c", str(conf)], "nginx"
    else:
        caddy = Path(sys.executable).parent / "caddy"
        command, name = [str(caddy), "respond", "--listen", f"127.0.0.1:{port}", "OK"], "caddy respond"
    process = subprocess.Popen(
        [*on_core(SERVER_CORE), *command],
        env=os.environ | {"GOMAXPROCS": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        give_up = time.monotonic() + 10
        while not answers(port):
            if process.poll() is not None or time.monotonic() > give_up:
                raise RuntimeError(f"bench: {name} does not answer on port {port}; it ended with {process.poll()}")
            time.sleep(0.05)
        print(f"server: {name}, pinned: {'core ' + SERVER_CORE if on_core(SERVER_CORE) else 'no'}")
        yield port
    finally:
        process.terminate()
        process.wait()


def answers(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        return sock.recv(100).startswith(b"HTTP/1.1 200")
    return False


def peer(name: str) -> Callable[[int, Path], dict[str, Any]]:
    def measure(port: int, _folder: Path) -> dict[str, Any]:
        command = [sys.executable, "-m", "bench.client_peers", name, str(port), str(SECONDS)]
        done = subprocess.run([*on_core(CLIENT_CORE), *command], check=True, stdout=subprocess.PIPE)
        return json.loads(done.stdout)

    return measure


def meter(port: int, folder: Path) -> dict[str, Any]:
    """The real meter, `LANES` fresh lanes. Its own account of every second holds the processor time of all its threads."""
    folder.mkdir()
    lane = {"target": "t", "host": "127.0.0.1", "port": port, "mode": "fresh", "path": "/", "rate_hz": RATE / LANES}
    plan = {"v": 1, "dir": str(folder), "deadline_ms": 1000, "lanes": [lane | {"id": n} for n in range(LANES)]}
    command = [*on_core(CLIENT_CORE), sys.executable, "-m", "harness.probes.meter"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    assert process.stdin is not None
    process.stdin.write(json.dumps(plan | {"priority": -10}).encode() + b"\n")
    process.stdin.flush()
    time.sleep(SECONDS + 3)
    process.stdin.close()
    process.wait()
    rows = [json.loads(line) for line in (folder / "meter.jsonl").read_text().splitlines()]
    rows = [row for row in rows if "sent" in row][1:-1]  # the first second warms up, the last one is cut
    sent = sum(row["sent"] for row in rows)
    seconds = (rows[-1]["t_ns"] - rows[0]["t_ns"]) / 1e9 * len(rows) / (len(rows) - 1)
    return {"requests": sent, "ok": sent, "seconds": seconds, "cpu_s": sum(row["cpu_s"] for row in rows)}


def wrk(port: int, _folder: Path) -> dict[str, Any]:
    """One thread. The processor time is that of the whole child, by wait4."""
    command = [str(WRK), "-t1", f"-c{CONNECTIONS}", f"-d{SECONDS:.0f}s", f"http://127.0.0.1:{port}/"]
    process = subprocess.Popen([*on_core(CLIENT_CORE), *command], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    said = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    found = re.search(r"(\d+) requests in ([\d.]+)s", said)
    if found is None:
        raise RuntimeError(f"bench: wrk said {said!r}")
    requests = int(found[1])
    return {
        "requests": requests,
        "ok": requests,
        "seconds": float(found[2]),
        "cpu_s": usage.ru_utime + usage.ru_stime,
    }


PROBES: dict[str, Callable[[int, Path], dict[str, Any]]] = {
    "our meter": meter,
    "aiohttp": peer("wait-aiohttp"),
    "Locust FastHttpUser": peer("wait-fast"),
    "httpx": peer("wait-httpx"),
}
KEPT: dict[str, Callable[[int, Path], dict[str, Any]]] = {
    "our engine": peer("engine"),
    "Locust FastHttpUser": peer("fast"),
    **({"wrk": wrk} if WRK else {}),
}


def tried(name: str, measure: Callable[[int, Path], dict[str, Any]], port: int, folder: Path) -> dict[str, Any] | None:
    """What was measured; None for a peer that broke, which is said and ends nothing. Ours may not break."""
    try:
        return measure(port, folder)
    except subprocess.CalledProcessError as error:
        if name.startswith("our "):
            raise
        print(f"{name}: ended with {error.returncode}; this round has no figure of it")
        return None


def measured(values: list[float]) -> list[float]:
    return [value for value in values if not math.isnan(value)] or [math.nan]


def run(temp: Path) -> None:
    if not WRK:
        print("wrk is not installed (Debian: apt-get install wrk): left out")
    shares: dict[str, list[float]] = {name: [] for name in PROBES}
    bought: dict[str, list[float]] = {name: [] for name in KEPT}
    with server(temp) as port:
        for number in range(ROUNDS):
            for name, measure in PROBES.items():
                got = tried(name, measure, port, temp / f"meter-{number}")
                if got is None:
                    continue
                per_s = got["ok"] / got["seconds"]
                if not number and abs(per_s - RATE) > 0.05 * RATE:
                    print(f"{name}: measured at {per_s:.0f} requests/s, its share is scaled to {RATE}")
                shares[name].append(100 * got["cpu_s"] / got["ok"] * RATE)
            for name, measure in KEPT.items():
                got = tried(name, measure, port, temp)
                bought[name].append(got["ok"] / got["cpu_s"] if got else math.nan)
    tell(shares, bought)


def tell(shares: dict[str, list[float]], bought: dict[str, list[float]]) -> None:
    for name, values in shares.items():
        if not values:
            print(f"{name}: no figure")
            continue
        show(
            f"{RATE} fresh requests/s: {name}", values, "%", "<= 20 % of a core" if name == "our meter" else "beside it"
        )
    for name, values in bought.items():
        show(f"kept, per CPU-second: {name}", measured(values), "", "beside the others")
    for name, values in bought.items():
        if name != "our engine":  # side by side within a round: the machine changes from one to the next
            ratios = [ours / theirs for ours, theirs in zip(bought["our engine"], values, strict=True)]
            show(f"  our engine / {name}", measured(ratios), "x", ">= 5" if "Fast" in name else "measured")
