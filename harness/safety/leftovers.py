"""What the harness does by itself when its keeper was killed: undo, stop and remove what is known of the run."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass, field
from signal import SIGCONT, SIGKILL, Signals
from typing import TYPE_CHECKING

from harness.safety import proc, undo
from harness.safety.sysv import remove_orphaned

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

_UNDO_S = 10.0
_ENGINE_S = 40.0
_STOP_S = 2.0
_KILL_S = 2.0
_DETACH_S = 2.0


@dataclass
class Leftovers:
    """The harness's copy of what its keeper knows: armed steps and folders, processes and how they like to stop."""

    armed: dict[str, list[undo.Step]] = field(default_factory=dict)
    owned: list[Path] = field(default_factory=list)
    projects: list[undo.Step] = field(default_factory=list)
    processes: dict[str, proc.ProcessRef] = field(default_factory=dict)
    stop_signals: dict[str, str] = field(default_factory=dict)

    def clear(self) -> tuple[list[undo.Outcome], list[str]]:
        """Undo, stop and remove it all; gives the outcomes, and one line for each thing that is left.

        The kernel has told the direct children to die already, but a frozen one cannot obey, and theirs were not told.
        """
        steps = [step for fault in reversed(self.armed.values()) for step in reversed(fault)]
        steps = [step for step in steps if not undo.is_moot(step, self.projects)]
        outcomes = undo.run(steps, within_s=_ENGINE_S if any(map(undo.of_engine, steps)) else _UNDO_S)
        left = [f"process {process}" for process in self._stop()]
        for path in self.owned:
            left += [f"shared memory segment {segment.shmid}" for segment in remove_orphaned(path, _DETACH_S)[1]]
        projects = undo.run(self.projects)
        left += [f"project {outcome.step.args['project']}: {outcome.said}" for outcome in projects if not outcome.ok]
        folders = undo.run([undo.remove_tree(path) for path in self.owned])
        left += [f"folder {outcome.step.args['path']}: {outcome.said}" for outcome in folders if not outcome.ok]
        return [*outcomes, *projects, *folders], left

    def _stop(self) -> list[proc.ProcessRef]:
        for name, process in self.processes.items():
            tell(process, Signals[f"SIG{self.stop_signals[name]}"], SIGCONT)
        wait_gone(self.processes.values(), _STOP_S)
        return kill(proc.in_sessions(self.processes.values()))


def wait_gone(processes: Iterable[proc.ProcessRef], within_s: float) -> list[proc.ProcessRef]:
    """Wait until these processes are gone; gives those that are not."""
    ends = time.monotonic() + within_s
    while (living := [process for process in processes if proc.state(process) != "gone"]) and time.monotonic() < ends:
        time.sleep(0.01)
    return living


def kill(processes: Iterable[proc.ProcessRef]) -> list[proc.ProcessRef]:
    """Kill these processes and wait until they are gone; gives those that are not."""
    some = list(processes)
    for process in some:
        tell(process, SIGKILL)
    return wait_gone(some, _KILL_S)


def tell(process: proc.ProcessRef, *signums: int) -> None:
    """Send signals, as far as the process lives and we may."""
    with suppress(PermissionError):
        for signum in signums:
            proc.send(process, signum)
