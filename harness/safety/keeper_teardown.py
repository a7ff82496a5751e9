"""How the keeper ends a run: undo what is armed, stop and reap all processes, remove the run's folders.

Every part is tried whatever became of the parts before it. Standard library only: the keeper process imports this.
"""

from __future__ import annotations

import os
import signal
import time
import traceback
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, NamedTuple

from harness.safety import proc, undo
from harness.safety.sysv import remove_orphaned

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from harness.safety.keeper_children import Child, Children
    from harness.safety.keeper_log import Log
    from harness.safety.keeper_ops import Armed


class Pace(NamedTuple):
    """Seconds for the parts of a teardown. `engine` replaces `undo` where a Docker engine is to put something back."""

    undo: float
    engine: float
    one_process: float
    all_processes: float
    orphans: float
    folders: float


ORDERLY = Pace(undo=5.0, engine=40.0, one_process=5.0, all_processes=8.0, orphans=2.0, folders=5.0)
HASTY = Pace(undo=1.0, engine=40.0, one_process=1.8, all_processes=1.8, orphans=0.5, folders=30.0)
"""Under four seconds to the last process, even if every part takes as long as it may: nobody is left to watch it. Only
folders and Docker engines have longer: a busy disk needs more than a second for a database, an engine that is
restarting is waited for, and what is given up here stays."""


class Teardown:
    """The end of a run. `sleep` waits until a child ends or the seconds are over."""

    def __init__(self, children: Children, log: Log, why: str, sleep: Callable[[float], None], *, hasty: bool) -> None:
        self._children = children
        self._log = log
        self._why = why
        self._sleep = sleep
        self._hasty = hasty
        self._pace = HASTY if hasty else ORDERLY

    def undo_all(self, armed: Mapping[str, Armed], going: Sequence[undo.Step] = ()) -> dict[str, list[undo.Outcome]]:
        """Undo every fault, the last one first. Nothing of ours is started again: it is about to go, as `going` is."""
        outcomes: dict[str, list[undo.Outcome]] = {}
        foreign = any(
            undo.of_engine(step) and not undo.is_moot(step, going) for entry in armed.values() for step in entry.steps
        )
        ends = time.monotonic() + (self._pace.engine if foreign else self._pace.undo)
        for fault, entry in reversed(list(armed.items())):
            with self._attempt(f"undo {fault}"):
                outcomes[fault] = entry.undo(None, within_s=ends - time.monotonic(), going=going)
                self._log.write("undone", fault=fault, why=self._why, outcomes=[o.to_json() for o in outcomes[fault]])
        return outcomes

    def finish(self, owned: Sequence[Path], projects: Sequence[undo.Step] = ()) -> list[str]:
        """Stop, reap and remove everything; gives one line for each thing that is left."""
        with self._attempt("stop all"):
            self._stop_at_once() if self._hasty else self._stop_in_turn()
        with self._attempt("reap all"):
            self._reap_all()
        left = [f"process {process}" for process in _living()]
        with self._attempt("remove shared memory"):
            for path in owned:
                removed, used = remove_orphaned(path, within_s=0.0)
                self._log.write("removed", why=self._why, shared_memory=[segment.shmid for segment in removed])
                left += [f"shared memory segment {segment.shmid}" for segment in used]
        for outcome in undo.run(projects):
            left += self._removed(outcome, f"project {outcome.step.args['project']}")
        for outcome in undo.run([undo.remove_tree(path) for path in owned], within_s=self._pace.folders):
            left += self._removed(outcome, f"folder {outcome.step.args['path']}")
        self._log.write("down", why=self._why, left=left)
        return left

    def _removed(self, outcome: undo.Outcome, what: str) -> list[str]:
        self._log.write("removed" if outcome.ok else "left", why=self._why, said=outcome.said)
        return [] if outcome.ok else [f"{what}: {outcome.said}"]

    def _stop_in_turn(self) -> None:
        ends = time.monotonic() + self._pace.all_processes
        for child in reversed(self._children.alive()):
            self._stop([child], min(time.monotonic() + self._pace.one_process, ends))

    def _stop_at_once(self) -> None:
        self._stop(self._children.alive()[::-1], time.monotonic() + self._pace.all_processes)

    def _stop(self, some: Sequence[Child], kill_at: float) -> None:
        for child in some:
            with self._attempt(f"stop {child.spec.name}"):
                self._children.ask_to_stop(child, kill_at)
        self._until_gone(some, kill_at)
        self._children.kill_overdue()
        self._until_gone(some, kill_at + self._pace.orphans)
        for child in some:
            self._log.write("stopped", name=child.spec.name, why=self._why, code=child.code, forced=child.forced)

    def _until_gone(self, some: Sequence[Child], until: float) -> None:
        self._children.reap()
        while any(child.code is None for child in some) and time.monotonic() < until:
            self._sleep(until - time.monotonic())
            self._children.reap()

    def _reap_all(self) -> None:
        """Kill whatever is below us, however it got there, until nothing is: orphans come to us one layer at a time."""
        ends = time.monotonic() + self._pace.orphans
        while (processes := _living()) and time.monotonic() < ends:
            for process in processes:
                self._log.write("killed", process=str(process), why=self._why)
                with suppress(PermissionError):
                    proc.send(process, signal.SIGKILL)
            self._sleep(0.02)
            self._children.reap()
        self._children.reap()

    @contextmanager
    def _attempt(self, what: str) -> Iterator[None]:
        """Log an error and go on: the rest of the run must go too."""
        try:
            yield
        except Exception:  # noqa: BLE001
            self._log.write("error", what=what, traceback=traceback.format_exc())


def _living() -> list[proc.ProcessRef]:
    return [process for process in proc.descendants(os.getpid()) if proc.state(process) != "gone"]
