"""The keeper's named children: started from a stored spec, stopped with escalation, reaped with everything else.

Standard library only: the keeper process imports this.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from harness.safety import proc

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from harness.safety.spec import Spec, Stdio

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_libc = ctypes.CDLL(None, use_errno=True)


def become_subreaper() -> None:
    """Make orphans below this process its own children, so that none can escape; raises OSError."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


@dataclass
class Child:
    """A named process. `code` is None while it lives, then its exit code, or minus the signal that ended it."""

    spec: Spec
    ref: proc.ProcessRef
    popen: subprocess.Popen[bytes]
    code: int | None = None
    kill_at: float | None = None
    forced: bool = False
    asked: bool = False
    """Whether it was asked to leave by a fault: a start then ends it first."""
    stoppers: list[int] = field(default_factory=list)
    """Ids of the stop requests to answer once it is gone."""


class Children:
    """All named children in the order of their latest start. Single-threaded: only this may wait for processes."""

    def __init__(self) -> None:
        self._by_name: dict[str, Child] = {}

    def get(self, name: str) -> Child:
        """Find a child; raises LookupError."""
        if name not in self._by_name:
            raise LookupError(f"no process is named {name!r}; known are {', '.join(self._by_name) or 'none'}")
        return self._by_name[name]

    def alive(self) -> list[Child]:
        """List the living, first started first."""
        return [child for child in self._by_name.values() if child.code is None]

    def spawn(self, spec: Spec, fds: Sequence[int] = ()) -> Child:
        """Start a process and store its spec; raises OSError or ValueError with the reason."""
        known = self._by_name.get(spec.name)
        if known is not None and known.code is None:
            raise ValueError(f"{spec.name} is running already as {known.ref}")
        popen = _exec(spec, fds)
        child = Child(spec, proc.ref(popen.pid), popen)
        self._by_name.pop(spec.name, None)
        self._by_name[spec.name] = child
        return child

    def restart(self, name: str) -> Child:
        """Start a child that is gone again, from its stored spec; raises LookupError, OSError or ValueError."""
        return self.spawn(self.get(name).spec)

    def reap(self) -> list[Child]:
        """Collect everything that ended, orphans silently; returns the named ones that are newly gone."""
        by_pid = {child.ref.pid: child for child in self.alive()}
        ended = []
        with suppress(ChildProcessError):
            while (found := os.waitpid(-1, os.WNOHANG)) != (0, 0):
                child = by_pid.get(found[0])
                if child is not None:
                    child.code = child.popen.returncode = os.waitstatus_to_exitcode(found[1])
                    child.kill_at = None
                    ended.append(child)
        return ended

    def ask_to_stop(self, child: Child, kill_at: float) -> None:
        """Send the stop signal, wake what is frozen so that it can obey, and remember when patience ends."""
        proc.send(child.ref, signal.Signals[f"SIG{child.spec.stop_signal}"])
        child.kill_at = kill_at if child.kill_at is None else min(kill_at, child.kill_at)
        for process in (child.ref, *proc.descendants(child.ref.pid)):
            if proc.state(process) == "frozen":
                proc.send(process, signal.SIGCONT)

    def kill_overdue(self) -> None:
        """Kill every child whose patience has ended."""
        for child in self.alive():
            if child.kill_at is not None and child.kill_at <= time.monotonic():
                child.kill_at = None
                with suppress(PermissionError):
                    child.forced = proc.send(child.ref, signal.SIGKILL)

    def next_deadline(self) -> float | None:
        """Give the monotonic second at which `kill_overdue` has work, if any."""
        return min((child.kill_at for child in self.alive() if child.kill_at is not None), default=None)


def _exec(spec: Spec, fds: Sequence[int]) -> subprocess.Popen[bytes]:
    with ExitStack() as opened:
        return subprocess.Popen(
            spec.argv,
            env=spec.env,
            cwd=spec.cwd,
            stdin=_open(spec.stdin, fds, os.O_RDONLY, opened),
            stdout=_open(spec.stdout, fds, os.O_WRONLY | os.O_APPEND | os.O_CREAT, opened),
            stderr=_open(spec.stderr, fds, os.O_WRONLY | os.O_APPEND | os.O_CREAT, opened),
            start_new_session=True,
            preexec_fn=_in_child(spec, os.getpid()),  # noqa: PLW1509  one thread only, so forking is safe
        )


def _in_child(spec: Spec, keeper: int) -> Callable[[], None]:
    """Prepare what the new process does before exec.

    What the keeper ignores, of its own or as a shell's background job ignores QUIT, must not be inherited.
    """
    ignored = [signum for signum in signal.valid_signals() if signal.getsignal(signum) is signal.SIG_IGN]
    death_signal = signal.Signals[f"SIG{spec.death_signal}"]

    def prepare() -> None:
        for signum in ignored:
            signal.signal(signum, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        if spec.nice is not None:
            with suppress(PermissionError):
                os.setpriority(os.PRIO_PROCESS, 0, spec.nice)
        _prctl(_PR_SET_PDEATHSIG, death_signal)
        if os.getppid() != keeper:  # it died before the signal was set, and nobody will tell us
            os.kill(os.getpid(), signal.SIGKILL)

    return prepare


def _open(stdio: Stdio, fds: Sequence[int], flags: int, opened: ExitStack) -> int:
    """Give a descriptor. An index without its file is a restart: the file went to the first start."""
    if isinstance(stdio, Path):
        fd = os.open(stdio, flags, 0o644)
        opened.callback(os.close, fd)
        return fd
    return subprocess.DEVNULL if stdio is None or stdio >= len(fds) else fds[stdio]


def _prctl(option: int, value: int) -> None:
    if _libc.prctl(option, value, 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"prctl({option}): {os.strerror(number)}")
