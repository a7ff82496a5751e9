"""A process of the local stack as a target: signals by pid and start time, start through the keeper."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass, field, replace
from signal import Signals
from typing import TYPE_CHECKING

import anyio

from harness import events as ev
from harness.errors import KeeperLost, StackError
from harness.local.logs import FOLDER, Logs
from harness.safety import proc, undo

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from pathlib import Path

    from harness.safety.link import Keeper
    from harness.safety.registry import Registration
    from harness.safety.spec import Spec
    from harness.stack import Address, Context
    from harness.targets import State

_KEPT = ("PATH", "LANG", "LC_ALL", "TZ", "TMPDIR")
_TAIL = 8
_DYING_S = 5.0


def clean_env(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Environment of a process of ours: nothing of the caller's but what programs need to run, then `extra`."""
    return {key: os.environ[key] for key in _KEPT if key in os.environ} | dict(extra or {})


@dataclass
class Site:
    """Where a local stack lives: the run, its keeper and registration, its private folder."""

    context: Context
    keeper: Keeper
    registration: Registration
    temp: Path
    logs: Logs = field(init=False)

    def __post_init__(self) -> None:
        """Know where logs go."""
        self.logs = Logs(self.temp / "run-logs", self.context.directory)

    async def spawn(self, spec: Spec, fds: tuple[int, ...] = ()) -> proc.ProcessRef:
        """Start a process under the keeper, its output in the run's `logs/`, and record that it exists."""
        log = self.logs.path(spec.name)
        spec = replace(spec, stderr=log if spec.stderr is None else spec.stderr, cwd=self.temp)
        if spec.stdout is None:
            spec = replace(spec, stdout=log)
        process = await self.keeper.spawn(spec, fds)
        self.record(spec.name, process)
        return process

    def record(self, name: str, process: proc.ProcessRef) -> None:
        """Write down that a process of ours exists."""
        self.registration.processes[name] = process
        self.registration.update()
        self.context.emit(ev.ResourceCreated(what="process", name=name, ref=str(process)))

    def log(self, name: str) -> Path:
        """Log file of a process."""
        return self.context.directory / FOLDER / f"{name}.log"

    async def until(self, name: str, ready: Callable[[], Awaitable[bool]], timeout_s: float, what: str) -> None:
        """Poll `ready` until it is true; raise StackError with the last log lines on death or deadline."""
        with anyio.move_on_after(timeout_s):
            while True:
                if await ready():
                    return
                if proc.state(self.keeper.processes[name]) == "gone":
                    raise StackError(f"{name} died while starting. {self.tail(name)}")
                await anyio.sleep(0.02)
        raise StackError(f"{name}: {what} not within {timeout_s:g} s. {self.tail(name)}")

    def tail(self, name: str) -> str:
        """Last lines of a log in one sentence, for an error."""
        try:
            lines = self.log(name).read_text(errors="replace").strip().splitlines()[-_TAIL:]
        except OSError:
            lines = []
        return f"Last lines of {self.log(name)}:\n  " + "\n  ".join(lines or ["(empty)"])


@dataclass
class LocalProcess:
    """One process of the stack; Signalable, Killable, Dismissable and Freezable."""

    name: str
    role: str
    address: Address
    site: Site

    @property
    def process(self) -> proc.ProcessRef:
        """The process now behind the name."""
        return self.site.keeper.processes[self.name]

    async def signal(self, name: str) -> None:
        """Send a signal to exactly this process; SIGKILL is waited for, or an undo could find it dying and alive."""
        process = self.process
        proc.send(process, Signals[f"SIG{name}"])
        if name == "KILL":
            with anyio.move_on_after(_DYING_S):
                while proc.state(process) != "gone":  # noqa: ASYNC110 - the kernel sends us no event
                    await anyio.sleep(0.001)

    async def state(self) -> State:
        """What the kernel says; of an end the keeper has told by then too, so that it is in the log before what follows."""
        state = proc.state(self.process)
        if state == "gone":
            with suppress(KeeperLost):  # then nobody tells of anything any more
                await self.site.keeper.ping()
        return state

    async def ask_to_leave(self) -> None:
        """Send SIGTERM, by the keeper."""
        await self.site.keeper.ask_to_leave(self.name)

    async def was_asked(self) -> bool:
        """What the keeper remembers."""
        return await self.site.keeper.was_asked(self.name)

    def undo_start(self) -> undo.Step:
        """Start it again, by the keeper."""
        return undo.start(self.name)

    def undo_signal(self, name: str) -> undo.Step:
        """Send a signal to exactly this process."""
        return undo.signal(self.process, name)


async def accepts(address: Address) -> bool:
    """Whether something accepts a connection there now."""
    try:
        stream = await anyio.connect_tcp(address.host, address.port)
    except OSError:
        return False
    await stream.aclose()
    return True
