"""Makes the saved runs again: `python tests/golden/make.py [NAME …]`; with `--judge` only what follows from them.

One folder per run: `evidence.tar.xz` (the run directory without what follows from it), `verdict.json`, `report.txt`.
A change of the engine that changes a verdict shows up here as a diff to be read, not to be waved through.
"""

from __future__ import annotations

import io
import shutil
import sys
import tarfile
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from unittest import mock

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parents[1]), str(HERE.parent / "contract")]

from fake_runs import play  # noqa: E402

from harness import Run, Scenario, each, live, one, rolling, runner, scenario  # noqa: E402
from harness.evidence import conclude  # noqa: E402
from harness.fake import talks  # noqa: E402
from harness.faults import BalancerRestart, CpuThrottle, DbLatency, Freeze, Kill, Restart, Stop  # noqa: E402
from harness.objectives import (  # noqa: E402
    AllReady,
    BadSeconds,
    BrownOut,
    BuildsEnd,
    Detected,
    DropShare,
    Exits,
    EchoKept,
    Goodbye,
    HealthTells,
    Herd,
    Latency,
    LatencyByDose,
    LongestOutage,
    MembershipDrops,
    NoneBeforeReady,
    OthersKeepPace,
    OthersNotBlocked,
    Recovery,
    SchemaClean,
    SessionsBack,
    TellsLatency,
    WritesKept,
)
from harness.timings import (  # noqa: E402
    N,
    database_far,
    ejection,
    membership_earliest,
    redial,
    replica_gone,
    replica_heartbeat,
)

if TYPE_CHECKING:
    from collections.abc import Callable

ARCHIVE = "evidence.tar.xz"
SHORT = {"time_scale": 0.1, "baseline": 2, "watchers": 8, "calm": 3}
SESSIONS = {"sessions": "echo.eager=2,watch.stream=2"}
"""Further sessions of the runs with a kill."""
SMALL = {"replicas": 2, "sessions": {}}
"""Proving a delay takes a while, and a saved run is to be small."""
DERIVED = ("verdict.json", "report.txt", "teardown.json")

common = [WritesKept(), NoneBeforeReady(), BadSeconds(at_most=ejection / N + 0.5), LongestOutage(at_most=1.0)]


@scenario(
    objectives=[
        *common,
        MembershipDrops(earliest=membership_earliest / 2, latest=replica_gone + replica_heartbeat + 0.5),
        SessionsBack("watch.eager", within=1.0),
        Herd(at_most=100),
        EchoKept(),
        Recovery("first", within=1.0),
        Recovery("stable", within=ejection + 2.0),
        Recovery("capacity", within=30.0),
        Recovery("sessions", within=ejection + redial),
        Latency(at_most=0.3),
        Detected(within=1.0),
    ]
)
async def golden_kill(run: Run) -> None:
    """A kill, with objectives that a healthy stack keeps."""
    await run.baseline()
    async with run.fault(Kill(), at=one("coder")):
        await run.hold(ejection)
    await run.settle()


@scenario(
    objectives=[
        BadSeconds(at_most=0.1),
        LongestOutage(at_most=0.001),
        Recovery("first", within=0.001),
        Recovery("stable", within=0.5),
        Recovery("capacity", within=1.0),
        Recovery("sessions", within=0.01),
        SessionsBack("watch.eager", within=0.01),
        Herd(at_most=1),
        Latency(at_most=0.0001),
        Detected(within=0.0),
    ]
)
async def golden_strict(run: Run) -> None:
    """A kill, with objectives that nobody could keep."""
    await golden_kill.body(run)


@scenario(objectives=[OthersNotBlocked(at_most=2.0), *common[:3]])
async def golden_freeze(run: Run) -> None:
    """A freeze, with objectives that a healthy stack keeps."""
    await run.baseline()
    async with run.fault(Freeze(), at=one("coder")):
        await run.hold(ejection + 1)
    await run.settle()


@scenario(objectives=[Exits(within=2.0), Goodbye(), BuildsEnd(), BadSeconds(at_most=ejection / N + 0.5, per_fault=True), *common[:2]])
async def golden_rolling(run: Run) -> None:
    """Each replica stopped and started in turn, with objectives that a healthy stack keeps."""
    await run.baseline()
    for _ in range(run.replicas):
        async with run.fault(Restart(), at=rolling("coder")):
            pass  # it is started again as soon as it is gone
        await run.hold(1)
    await run.settle()


@scenario(objectives=[BuildsEnd(well=True)])
async def golden_orphans(run: Run) -> None:
    """A stop that is held for longer than the writers wait for a build."""
    await run.baseline()
    async with run.fault(Stop(), at=one("coder")):
        await run.hold(10)
    await run.settle()


@scenario(objectives=[Exits(within=0.0)])
async def golden_hurried(run: Run) -> None:
    """A stop, with an objective that nobody could keep."""
    await run.baseline()
    async with run.fault(Stop(), at=one("coder")):
        await run.hold(1)
    await run.settle()


@scenario(objectives=[DropShare(), Herd(at_most=3.0, per_session=True)])
async def golden_scale_down(run: Run) -> None:
    """Two replicas leave, one after the other, with objectives that a healthy stack keeps."""
    await run.baseline()
    async with run.fault(Stop(), at=rolling("coder")):
        await run.hold(2)
        async with run.fault(Stop(), at=rolling("coder")):
            await run.hold(1)
    await run.settle()


@scenario(objectives=[DropShare(), Herd(at_most=3.0, per_session=True)])
async def golden_all_cut(run: Run) -> None:
    """Who leaves takes everybody's sessions along, and they dial as fast as they can: what both objectives must notice."""
    await run.baseline()
    async with run.fault(BalancerRestart(how="killed"), at=one("balancer")):
        await run.hold(1)
    await run.settle()


@scenario(objectives=[OthersKeepPace(), BrownOut()])
async def golden_throttle(run: Run) -> None:
    """One replica has almost no processor left."""
    await run.baseline()
    async with run.fault(CpuThrottle(), at=one("coder")):
        await run.hold(9)  # enough slots of the one other replica for an interval of its p95
    await run.settle()


@scenario(objectives=[LatencyByDose(at_most=0.05, up_to_ms=10)])
async def golden_doses(run: Run) -> None:
    """A database that is further and further away from everybody."""
    await run.baseline()
    for rtt_ms in (5, 100):
        async with run.fault(DbLatency(rtt_ms=rtt_ms), at=each("coder")):
            await run.hold(3)
    await run.settle()


@scenario(objectives=[LatencyByDose(at_most=0.005, up_to_ms=10)])
async def golden_overdose(run: Run) -> None:
    """The same, with a limit that 10 ms must break."""
    await run.baseline()
    async with run.fault(DbLatency(rtt_ms=10), at=each("coder")):
        await run.hold(3)
    await run.settle()


@scenario(objectives=[OthersKeepPace()])
async def golden_slow(run: Run) -> None:
    """A database that is slow for one replica."""
    await run.baseline()
    async with run.fault(DbLatency(rtt_ms=25), at=one("coder")):
        await run.hold(9)
    await run.settle()


@scenario(objectives=[TellsLatency(within=replica_heartbeat * 2 + 1.0)])
async def golden_telling(run: Run) -> None:
    """The same, and the one it is slow for is to say so."""
    await run.baseline()
    async with run.fault(DbLatency(rtt_ms=25), at=one("coder")):
        await run.hold(2)
    await run.settle()


@scenario(objectives=[HealthTells(warns_at=database_far)])
async def golden_asking(run: Run) -> None:
    """A database that is near enough for everybody, then too far, then at home again; all are asked each time."""
    await run.baseline()
    await run.ask_health(until_quiet_s=2)
    for rtt_ms in (12, 18):
        async with run.fault(DbLatency(rtt_ms=rtt_ms), at=each("coder")):
            await run.ask_health(until_quiet_s=2 if rtt_ms == 12 else 0)  # noqa: PLR2004  # the lesser of the two above
    await run.settle()
    await run.ask_health(until_quiet_s=2)


@scenario(objectives=[OthersKeepPace()])
async def golden_spreading(run: Run) -> None:
    """A database that is slow for one replica, and then for all others too: what the first objective must notice."""
    await run.baseline()
    async with run.fault(DbLatency(rtt_ms=25), at=rolling("coder")) as _, AsyncExitStack() as others:
        for _ in range(run.replicas - 1):
            await others.enter_async_context(run.fault(DbLatency(rtt_ms=60), at=rolling("coder")))
        await run.hold(7)
    await run.settle()


@scenario(outage=True, objectives=[AllReady(within=10), SchemaClean()])
async def golden_cold_start(run: Run) -> None:
    """All replicas away and started at once."""
    await run.baseline()
    async with run.fault(Kill(), at=each("coder")):
        await run.hold(1)
    await run.settle()


RUNS: dict[str, tuple[Scenario, str]] = {
    "kill-pass": (golden_kill, ""),
    "kill-strict": (golden_strict, ""),
    "kill-ack-before-commit": (golden_kill, "ack-before-commit"),
    "kill-ready-before-pool": (golden_kill, "ready-before-pool"),
    "kill-heartbeat-10x": (golden_kill, "heartbeat-10x"),
    "kill-watch-no-snapshot": (golden_kill, "watch-no-snapshot"),
    "kill-that-does-nothing": (golden_kill, ""),
    "kill-echo-doubles": (golden_kill, ""),
    "rolling-pass": (golden_rolling, ""),
    "rolling-no-drain": (golden_rolling, "no-drain"),
    "stop-orphans": (golden_orphans, "orphan-on-stop"),
    "stop-interrupts": (golden_orphans, "interrupts-build"),
    "stop-strict": (golden_hurried, ""),
    "scale-down-pass": (golden_scale_down, ""),
    "balancer-cuts-all": (golden_all_cut, ""),
    "stop-ignored": (golden_hurried, "ignores-sigterm"),
    "cpu-throttle-pass": (golden_throttle, ""),
    "cpu-throttle-shares-lock": (golden_throttle, "shared-lock-contention"),
    "db-latency-pass": (golden_slow, ""),
    "db-latency-spreads": (golden_spreading, ""),
    "tells-latency-pass": (golden_telling, ""),
    "tells-latency-never": (golden_telling, "latency-not-reported"),
    "health-pass": (golden_asking, ""),
    "health-never-warns": (golden_asking, "health-never-warns"),
    "doses-pass": (golden_doses, ""),
    "doses-overdose": (golden_overdose, ""),
    "cold-start-pass": (golden_cold_start, ""),
    "cold-start-migrates-twice": (golden_cold_start, "concurrent-migration"),
    "cold-start-finds-dirty": (golden_cold_start, "dirty-flag"),
    "freeze-pass": (golden_freeze, ""),
    "freeze-holds-lock": (golden_freeze, "holds-lock-in-request"),
}


async def nothing(_self: object, _target: object) -> None:
    """In place of an injector."""


def make(name: str, folder: Path) -> None:
    """Play one run and keep its evidence, without anything that names this machine or this moment."""
    golden, bugs = RUNS[name]
    patches: list[Any] = [
        mock.patch.object(runner, "time", SimpleNamespace(time_ns=lambda: 0)),
        mock.patch.object(runner, "_git", return_value=None),
        mock.patch.object(runner.proc, "boot_id", return_value="golden"),
        mock.patch.object(runner.proc, "ref", return_value="1@1"),
        mock.patch.object(runner, "version", return_value="0"),
    ]
    if name == "kill-that-does-nothing":
        patches.append(mock.patch.object(Kill, "inject", nothing))
    if name == "cold-start-finds-dirty":  # whoever never comes back is to be waited for no longer than the limit needs
        patches.append(mock.patch.object(live, "HEAL_S", 11.0))
    if name == "kill-echo-doubles":
        patches.append(mock.patch.object(talks, "ECHOES", 2))
    for patch in patches:
        patch.start()
    try:
        more: dict[str, Any] = SESSIONS if golden is not golden_freeze else {}
        more = SMALL if name.startswith(("cold-start", "db-latency", "doses", "tells", "health", "cpu-throttle")) else more
        more = SMALL | {"prove": 2} if name == "stop-ignored" else more
        more = SMALL | {"writers": 6, "watchers": 2, "calm": 1} if name in {"stop-orphans", "stop-interrupts"} else more
        run = play(folder / "run", golden, bugs=bugs, **(SHORT | more))
    finally:
        for patch in patches:
            patch.stop()
    out = HERE / name
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    for file in ("verdict.json", "report.txt"):
        shutil.copyfile(run.directory / file, out / file)
    (out / ARCHIVE).write_bytes(packed(run.directory, lambda file: file.name not in DERIVED))


def judge_again(name: str, folder: Path) -> None:
    """Judge and draw the evidence that is there, with the engine as it is now."""
    verdict, report = conclude(unpack(name, folder))
    (HERE / name / "verdict.json").write_text(verdict.to_json())
    (HERE / name / "report.txt").write_text(report)


def packed(directory: Path, wanted: Callable[[Path], bool]) -> bytes:
    """The folder as an archive that depends on nothing but its files' names and bytes."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:xz", preset=9) as tar:
        for file in sorted(p for p in directory.iterdir() if wanted(p)):
            info = tarfile.TarInfo(file.name)
            info.size = file.stat().st_size
            tar.addfile(info, io.BytesIO(file.read_bytes()))
    return out.getvalue()


def unpack(name: str, folder: Path) -> Path:
    """Put the evidence of a saved run into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    with tarfile.open(HERE / name / ARCHIVE) as tar:
        tar.extractall(folder, filter="data")
    return folder


if __name__ == "__main__":
    do = judge_again if "--judge" in sys.argv else make
    for chosen in [word for word in sys.argv[1:] if word != "--judge"] or RUNS:
        with tempfile.TemporaryDirectory() as temp:
            do(chosen, Path(temp))
        print(chosen, (HERE / chosen / ARCHIVE).stat().st_size, "bytes")  # noqa: T201
