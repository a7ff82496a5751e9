"""Sweep: remove what runs left that died together with their keeper. What lives is never touched."""

from __future__ import annotations

from signal import SIGCONT, SIGQUIT
from typing import TYPE_CHECKING

from harness.safety import proc, undo
from harness.safety.leftovers import kill, tell, wait_gone
from harness.safety.registry import load
from harness.safety.sysv import postmasters, remove_orphaned

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from harness.safety.registry import Registration

_QUIT_S = 3.0
_DETACH_S = 2.0
_PROJECTS_S = 30.0


def sweep(state_dir: Path, say: Callable[[str], None]) -> list[str]:
    """Remove what dead runs left: processes, shared memory, cgroups, toxics, temp folders and the registration itself.

    Says and returns one line for each thing that was removed or could not be; a registration with something left
    is kept for the next sweep, and a broken one is left alone.
    """
    said = []
    for path in sorted((state_dir / "runs").glob("*.json")):
        for line in _sweep_one(path):
            said.append(line)
            say(line)
    return said


def _sweep_one(path: Path) -> Iterator[str]:
    try:
        registration = load(path)
    except FileNotFoundError:  # its run, or another sweep, has just ended
        return
    except (OSError, ValueError) as error:
        yield f"left alone: {error}"
        return
    if registration.live():
        return
    complete = True
    for gone, line in _remove(registration):
        complete = complete and gone
        yield f"run {registration.run}: {line}"
    if complete:
        registration.close()
        yield f"run {registration.run}: removed its registration"


def _remove(registration: Registration) -> Iterator[tuple[bool, str]]:
    """Remove all a dead run left; yields for each thing whether it is gone, and a line that names it."""
    kept: set[Path] = set()
    if registration.same_boot():
        yield from _processes(registration)
        for folder in registration.temp_dirs:
            removed, used = remove_orphaned(folder, _DETACH_S)
            for segment in removed:
                yield True, f"removed shared memory segment {segment.shmid} of PostgreSQL {segment.creator}"
            for segment in used:
                kept.add(folder)  # it is the only record of the segment
                yield False, f"kept {folder}: its shared memory segment {segment.shmid} is in use"
    yield from _steps(registration)
    for folder in registration.temp_dirs:
        if folder not in kept and folder.exists():
            outcome = undo.run([undo.remove_tree(folder)])[0]
            yield outcome.ok, outcome.said


def _steps(registration: Registration) -> Iterator[tuple[bool, str]]:
    for outcome in undo.run(registration.projects, within_s=_PROJECTS_S):
        said = outcome.said if outcome.ok else f"could not remove {outcome.step.args['project']}: {outcome.said}"
        yield outcome.ok, said
    for folder in registration.cgroups:
        if folder.exists():
            outcome = undo.run([undo.cgroup_remove(folder)])[0]
            yield outcome.ok, outcome.said
    for outcome in undo.run(registration.foreign[::-1]):
        # What does not answer is gone with what was done to it, or must be asked by hand: no reason to try for ever. But an
        # engine that is away comes back.
        said = outcome.said if outcome.ok else f"could not do {outcome.step.do} {outcome.step.args}: {outcome.said}"
        yield outcome.ok or not undo.of_engine(outcome.step), said


def _processes(registration: Registration) -> Iterator[tuple[bool, str]]:
    """Kill the listed processes that live, and what is below them or in their sessions.

    PostgreSQL is asked first, so that it can remove its shared memory.
    """
    living = {name: process for name, process in registration.processes.items() if proc.state(process) != "gone"}
    data_owners = {pid for folder in registration.temp_dirs for pid, _ in postmasters(folder)}
    asked = [process for process in living.values() if process.pid in data_owners]
    below = [process for leader in living.values() for process in proc.descendants(leader.pid)]
    everything = {*living.values(), *proc.in_sessions(living.values()), *below}
    for process in asked:
        tell(process, SIGQUIT, SIGCONT)
    wait_gone(asked, _QUIT_S)
    left = kill(everything)
    for name, process in living.items():
        gone = process not in left
        yield gone, f"{'killed' if gone else 'could not kill'} process {name} {process}"
