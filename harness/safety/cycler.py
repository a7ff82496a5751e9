"""The cycler: lets a process run a part of the time only, by SIGSTOP and SIGCONT, where there is no cgroup for it.

A process of its own under the keeper, so that it dies with it. `python -m harness.safety.cycler PID@START PERCENT`. It
ends, and leaves the process running, when it is asked to or when the process is gone. Standard library only.
"""

from __future__ import annotations

import signal
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from harness.safety import proc

if TYPE_CHECKING:
    from collections.abc import Callable

PERIOD_S = 0.1
MODULE = "harness.safety.cycler"


def main(arguments: list[str]) -> None:
    """Cycle until SIGTERM, or until the process is gone. Between two signals there is nothing to do but to wait."""
    target, percent = proc.ProcessRef.parse(arguments[0]), float(arguments[1])
    runs = PERIOD_S * percent / 100
    asked: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: asked.append(number))
    try:
        while not asked:
            if not proc.send(target, signal.SIGSTOP):
                return
            time.sleep(PERIOD_S - runs)
            proc.send(target, signal.SIGCONT)
            time.sleep(runs)
    finally:
        proc.send(target, signal.SIGCONT)


def argv(target: proc.ProcessRef, percent: float) -> tuple[str, ...]:
    """Command line of a cycler."""
    return (sys.executable, "-m", MODULE, str(target), f"{percent:g}")


def percent_of(target: proc.ProcessRef) -> float:
    """Percent of the time that a process may run, as the command line of its cycler says; 100 without one."""
    for cycler in find(target):
        with suppress(OSError, ValueError):
            return float(Path(f"/proc/{cycler.pid}/cmdline").read_text().split("\0")[-2])
    return 100.0


def find(target: proc.ProcessRef) -> list[proc.ProcessRef]:
    """List the living cyclers of a process."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            words = (
                (entry / "cmdline").read_bytes().decode(errors="replace").split("\0") if entry.name.isdecimal() else []
            )
            if MODULE in words and str(target) in words:
                process = proc.ref(int(entry.name))
                found += [process] if proc.state(process) != "gone" else []
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


def stop(target: proc.ProcessRef, left_s: Callable[[], float]) -> str:
    """Kill the cyclers of a process, then let it run; nobody there is fine.

    `left_s` gives the seconds left and raises TimeoutError when there are none.
    """
    cyclers = find(target)
    for cycler in cyclers:
        proc.send(cycler, signal.SIGKILL)
    while any(proc.state(cycler) != "gone" for cycler in cyclers):
        time.sleep(min(0.001, left_s()))
    runs = proc.send(target, signal.SIGCONT)
    said = f"{len(cyclers)} cyclers of {target} stopped"
    return f"{said}, it runs" if runs else f"{said}, it is gone already"


if __name__ == "__main__":
    main(sys.argv[1:])
