"""Who reports what: a freeze of 1 s, requests that die in flight, requests that hang at the end. About 2 minutes.

A freeze hits one service process that several clients and the meter ask at the same time, each on a port of its own. What
is true follows from the due moments of an open loop of 100/s and from the freeze (`tests/metrology/frozen.py`).
"""

from __future__ import annotations

import json
import re
import statistics
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests" / "metrology"))

import freezes
import metro_rig as rig
from frozen import by_phase

from harness.loadlog import requests, totals
from harness.records import Outcome, read_slots
from harness.series import Interval, Series, quantile

ROUNDS = 3
WINDOW_S = 10.0
QUANTILES = (0.5, 0.95, 0.99, 1.0)
CLOSED = {
    "Locust closed, 5 users": "locust-closed",
    "Locust constant_throughput, 10 x 10/s": "locust-throughput",
    "aiohttp closed, 5 tasks": "aiohttp",
    "httpx closed, 5 tasks": "httpx",
}
LOAD = "our Locust user, open loop"
GROUPS = (
    [LOAD, "Locust closed, 5 users", "aiohttp closed, 5 tasks"],
    ["Locust constant_throughput, 10 x 10/s", "httpx closed, 5 tasks"],
)
"""Who shares a freeze: all at once would want more than two cores."""
COUNT = 200
HANG_AT_S, HANG_FOR_S = 2.0, 2.0
LOCUSTFILE = """
from locust import FastHttpUser, constant, task


class User(FastHttpUser):
    wait_time = constant(0)

    @task
    def ask(self):
        self.client.get("/api/v2/buildinfo")
"""

Figures = dict[str, dict[str, float]]


def peer(*words: str, wait: bool = False) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "bench.freeze_peers", *words]
    stdin = subprocess.PIPE if wait else subprocess.DEVNULL
    return subprocess.Popen(command, stdin=stdin, stdout=subprocess.PIPE, text=True)


def figures(latencies: list[int]) -> dict[str, float]:
    named = {f"p{100 * q:.0f}" if q < 1 else "max": quantile(latencies, q) / rig.MS for q in QUANTILES}
    return {"n": len(latencies), **named}


def one_freeze(folder: Path, clients: list[str]) -> Figures:
    """Some clients and our meter at once, one freeze in the middle of a window of `WINDOW_S`."""
    with ExitStack() as stack:
        spec = {"service_ms": freezes.SERVICE_MS}
        service, [first, *ports] = stack.enter_context(rig.simulator([spec for _ in ["our meter", *clients]]))
        port = dict(zip(clients, ports, strict=True))
        peers = {n: peer("freeze", CLOSED[n], str(port[n]), str(WINDOW_S), wait=True) for n in clients if n != LOAD}
        for child in peers.values():
            stack.callback(child.kill)
            assert child.stdout is not None
            child.stdout.readline()
        records = stack.enter_context(rig.arrivals(folder / "load", port[LOAD], 100)) if LOAD in clients else None
        lane = rig.lane(0, first, rate_hz=freezes.RATE_HZ)
        metering = stack.enter_context(rig.meter(folder / "meter", [lane], deadline_ms=5000))
        for child in peers.values():
            assert child.stdin is not None
            child.stdin.close()
        time.sleep(1.1)
        window = Interval(rig.monotonic_ns(), rig.monotonic_ns() + int(WINDOW_S * 1e9))
        rig.sleep_until(window.lo + int((WINDOW_S - freezes.FREEZE_S) / 2 * 1e9))
        frozen = freezes.freeze(service)
        found: Figures = {}
        for name, child in peers.items():
            assert child.stdout is not None
            found[name] = json.loads(child.stdout.read())
            child.wait()
        rig.sleep_until(window.hi + rig.SECOND // 2)
        metering.stop()
    series = rig.view(folder / "meter").series()[0]
    found["our meter"] = figures(series.all_latencies(window))
    if records is not None:
        rows = [row for row in requests(records) if window.lo <= row.intended < window.hi]
        found[LOAD] = figures(sorted(row.end - row.intended for row in rows))
    return found | {"truth": truth(series, window, frozen)}


def truth(series: Series, window: Interval, frozen: Interval) -> dict[str, float]:
    due = [series.intended[i] for i in series.range(window)]
    of_meter = freezes.Frozen(Path(), due, [], frozen, {})
    return {"n": len(due)} | {f"p{100 * q:.0f}" if q < 1 else "max": of_meter.true_ms(q) for q in QUANTILES}


def freeze_table(temp: Path) -> None:
    rounds: list[Figures] = []
    for number in range(ROUNDS):
        parts = [one_freeze(temp / f"freeze-{number}-{part}", names) for part, names in enumerate(GROUPS)]
        rounds += parts
    columns = list(rounds[0]["truth"])
    print(
        f"a service of 50 ms, 100 requests/s aimed at, frozen for 1.000 s in {WINDOW_S:.0f} s; medians of {ROUNDS}, ms"
    )
    print(f"  {'':<40}" + "".join(f"{column:>9}" for column in columns) + f"{'p95 off':>9}{'p99 off':>9}")
    order = ["truth", "our meter", LOAD, *CLOSED]
    middle = {
        name: {column: statistics.median(r[name][column] for r in rounds if name in r) for column in columns}
        for name in order
    }
    for name in order:
        row = middle[name]
        off = "".join(f"{100 * (row[p] / middle['truth'][p] - 1):>8.1f}%" for p in ("p95", "p99"))
        print(f"  {name:<40}" + "".join(f"{row[column]:>9.0f}" for column in columns) + off)
    for name in order[1:3]:
        for p in ("p95", "p99"):
            worst = max(abs(r[name][p] / r["truth"][p] - 1) for r in rounds if name in r)
            print(f"  {name}, {p}: off by {100 * worst:.2f} % at most   goal <= 3 %")
    for q in (0.95, 0.99):
        whole = by_phase(int(WINDOW_S * 100), 100, int(1e9), freezes.SERVICE_MS * rig.MS, q)
        print(
            f"  p{100 * q:.0f} is true at {whole.lo / rig.MS:.0f} to {whole.hi / rig.MS:.0f} ms, by the phase of the arrivals"
        )


def kills_table(temp: Path) -> None:
    """Every second request of a connection is killed in flight."""
    print("every 2nd request of a connection dies in flight: how many does nobody hear of?")
    print(f"  {'':<40}{'killed':>9}{'told':>9}{'hidden':>9}")

    def row(name: str, killed: int, failed: int) -> None:
        print(f"  {name:<40}{killed:>9}{failed:>9}{killed - failed:>9}")

    with rig.simulator([{"kill_every": 2}]) as (service, [port]):
        with rig.meter(temp / "kills-meter", [rig.lane(0, port, "pinned")], deadline_ms=1000) as metering:
            time.sleep(COUNT / 100 + 0.1)
            metering.stop()
        lost = sum(s.outcome in (Outcome.CLOSED, Outcome.RESET) for s in read_slots(temp / "kills-meter" / "slots.bin"))
        row("our meter, pinned lane", service.stop()["ports"][0]["killed"], lost)
    with rig.simulator([{"kill_every": 2}]) as (service, [port]):
        with rig.arrivals(temp / "kills-load", port, 100) as records:
            time.sleep(COUNT / 100 + 1)
        outcomes = totals([records]).outcomes
        told = outcomes[Outcome.CLOSED] + outcomes[Outcome.RESET]
        row(LOAD, service.stop()["ports"][0]["killed"], told)
    for name, word in (("Locust FastHttpUser", "locust"), ("aiohttp", "aiohttp"), ("httpx", "httpx")):
        with rig.simulator([{"kill_every": 2}]) as (service, [port]):
            said, _ = peer("kills", word, str(port), str(COUNT)).communicate(timeout=60)
            row(name, service.stop()["ports"][0]["killed"], json.loads(said.splitlines()[-1])["failed"])


def hang_table(temp: Path) -> None:
    """A service that hangs for the rest of the run."""
    print(f"a service that answers for {HANG_AT_S:.0f} s and then hangs until the client stops: what is accounted for?")
    print(f"  {'':<40}{'asked':>9}{'shown':>9}{'of them not good':>18}")
    hang = {"program": [{"at_ms": 1000 * HANG_AT_S, "for_ms": 600_000, "kind": "freeze"}]}

    def row(name: str, asked: int, shown: int, ill: int, more: str = "") -> None:
        print(f"  {name:<40}{asked:>9}{shown:>9}{ill:>18}{more}")

    with rig.simulator([hang]) as (service, [port]):
        with rig.meter(temp / "hang-meter", [rig.lane(0, port)], deadline_ms=1000) as metering:
            service.tell({"go": rig.monotonic_ns()})
            time.sleep(HANG_AT_S + HANG_FOR_S)
            metering.stop()
        slots = list(read_slots(temp / "hang-meter" / "slots.bin"))
        ill = sum(s.outcome != Outcome.OK for s in slots)
        row("our meter, fresh lane", service.stop()["ports"][0]["asked"], sum(bool(s.connected) for s in slots), ill)
    with rig.simulator([hang]) as (service, [port]):
        with rig.arrivals(temp / "hang-load", port, 100) as records:
            service.tell({"go": rig.monotonic_ns()})
            time.sleep(HANG_AT_S + HANG_FOR_S)
        found = totals([records])
        ill = found.started - found.outcomes[Outcome.OK]
        row(LOAD, service.stop()["ports"][0]["asked"], found.started, ill)
    (temp / "closed.py").write_text(LOCUSTFILE)
    with rig.simulator([hang]) as (service, [port]):
        command = [sys.executable, "-m", "locust", "-f", str(temp / "closed.py"), "-H", f"http://127.0.0.1:{port}"]
        command += ["--headless", "--only-summary", "-u", "5", "-r", "100", "-t", f"{HANG_AT_S + HANG_FOR_S:.0f}s"]
        service.tell({"go": rig.monotonic_ns() + rig.SECOND})  # its start takes about as long
        done = subprocess.run(command, cwd=temp, capture_output=True, text=True, check=False)
        total = re.search(r"Aggregated\s+(\d+)\s+(\d+)\(", done.stdout + done.stderr)
        assert total is not None
        asked = service.stop()["ports"][0]["asked"]
        row("Locust closed, 5 users", asked, int(total[1]), int(total[2]), f"   exit code {done.returncode}")


def run(temp: Path) -> None:
    freeze_table(temp)
    kills_table(temp)
    hang_table(temp)
