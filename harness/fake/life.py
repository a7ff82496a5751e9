"""A process that is only modelled: it runs, freezes, thaws, dies and starts again, and its own time stops with it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from harness.safety import undo
from harness.safety.proc import ProcessRef

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.stack import Address
    from harness.targets import State

_FIRST_PID = 100_000_000
"""Above every pid a kernel gives out, so that a step that leaves the fake by mistake meets no process."""
_POLITE = frozenset({"TERM", "HUP"})
"""Signals on which a server says goodbye before it ends."""
_LEAVE_S = 0.2
_LOOK_S = 0.017
"""How often it looks whether its work is done: no part of a meter's tick, which would be the same instant in virtual time."""
_FATAL = frozenset({"KILL", "INT", "QUIT", "ABRT"})


class Died(Exception):  # noqa: N818 - what a caller inside the model is told; never leaves it
    """The process died while one of its own tasks waited."""


class Life:
    """One life of a process. Timers set with `after` wait while it is frozen and are forgotten when it dies."""

    def __init__(self) -> None:
        self.alive = True
        self.frozen = False
        self.ends: list[Callable[[], None]] = []
        """Called, in order, when it dies."""
        self._loop = asyncio.get_running_loop()
        self._thaws: list[Callable[[], None]] = []

    def after(self, delay_s: float, act: Callable[[], None]) -> None:
        """Call `act` after `delay_s`, or as soon as the process is thawed again."""
        self._loop.call_later(delay_s, self._due, act)

    def when_awake(self, act: Callable[[], None]) -> None:
        """Call `act` now, or as soon as the process is thawed again."""
        self._due(act)

    async def sleep(self, delay_s: float) -> None:
        """Wait in the process's own time; raise Died when it ends first."""
        future: asyncio.Future[None] = self._loop.create_future()

        def finish() -> None:
            if not future.done():
                future.set_result(None)

        def fail() -> None:
            if not future.done():
                future.set_exception(Died)

        if not self.alive:
            raise Died
        self.ends.append(fail)
        self.after(delay_s, finish)
        try:
            await future
        finally:
            if fail in self.ends:
                self.ends.remove(fail)

    def thaw(self) -> None:
        """Go on, with everything that became due meanwhile."""
        self.frozen = False
        waiting, self._thaws = self._thaws, []
        for act in waiting:
            self._due(act)

    def die(self) -> None:
        """End."""
        self.alive = False
        ends, self.ends = self.ends, []
        for act in ends:
            act()

    def _due(self, act: Callable[[], None]) -> None:
        if not self.alive:
            return
        if self.frozen:
            self._thaws.append(act)
        else:
            act()


@dataclass
class FakeProcess:
    """A target of the fake stack: Signalable, Killable, Dismissable and Freezable."""

    name: str
    role: str
    address: Address
    number: int
    lives: int = 0
    life: Life = field(default_factory=Life)
    left: bool = False
    """Whether it ended in good order."""
    asked: bool = False
    """Whether this life of it was asked to leave."""
    obeys: bool = True
    drains: bool = True
    leaves_s: float | None = _LEAVE_S
    """How long it takes to leave after it stopped listening; None: for ever."""
    busy: Callable[[], bool] = lambda: False
    """Whether there is work that it must end before it leaves."""
    delays_ms: dict[str, int] = field(default_factory=dict)
    """Milliseconds added to each round trip to the database, by name."""
    cpu: int = 100
    """Percent of a processor it may use."""
    happened: list[Callable[[str], None]] = field(default_factory=list)
    """Told "frozen", "thawed", "leaving", "died" and "started", after the fact."""

    @property
    def process(self) -> ProcessRef:
        """The process now behind the name."""
        return ProcessRef(_FIRST_PID + 1000 * self.number + self.lives, self.lives + 1)

    @property
    def now(self) -> State:
        """State, without waiting."""
        if not self.life.alive:
            return "gone"
        return "frozen" if self.life.frozen else "running"

    async def signal(self, name: str) -> None:
        """Act on a signal by name."""
        self.take(name)

    async def state(self) -> State:
        """State of the process."""
        return self.now

    async def ask_to_leave(self) -> None:
        """SIGTERM, remembered."""
        self.asked = self.take("TERM")

    async def was_asked(self) -> bool:
        """What is remembered."""
        return self.asked

    def undo_start(self) -> undo.Step:
        """Start it again."""
        return undo.start(self.name)

    def undo_signal(self, name: str) -> undo.Step:
        """Send a signal to this very life of it."""
        return undo.signal(self.process, name)

    def take(self, name: str) -> bool:
        """Do what the signal does; False when there is no process to take it."""
        if not self.life.alive:
            return False
        if name in _POLITE:
            self.life.when_awake(self._leave)
        elif name in _FATAL and not (self.life.frozen and name != "KILL"):
            self._end(left=False)
        elif name == "STOP" and not self.life.frozen:
            self.life.frozen = True
            self._tell("frozen")
        elif name == "CONT" and self.life.frozen:
            self.life.thaw()
            self._tell("thawed")
        return True

    def _leave(self) -> None:
        if not self.obeys:
            return
        if not self.drains:
            self._end(left=False)
            return
        self._tell("leaving")
        if self.leaves_s is not None:
            self.life.after(self.leaves_s, self._go)

    def _go(self) -> None:
        if self.busy():
            self.life.after(_LOOK_S, self._go)
        else:
            self._end(left=True)

    def _end(self, *, left: bool) -> None:
        self.left = left
        self.life.die()
        self._tell("died")

    def start(self) -> str:
        """Start it unless it lives, and was not asked to leave; say what was done."""
        if self.life.alive and self.asked:
            self._end(left=False)
        if self.life.alive:
            return f"{self.name} runs already as {self.process}"
        self.asked = False
        self.lives += 1
        self.life = Life()
        self._tell("started")
        return f"started {self.name} as {self.process}"

    def _tell(self, what: str) -> None:
        for listener in self.happened:
            listener(what)


@dataclass
class FakeCoder(FakeProcess):
    """The process of a replica: a DatabaseLink and CpuLimited too."""

    async def throttle_cpu(self, percent: int) -> None:
        """Hold it down."""
        self.cpu = percent

    async def cpu_percent(self) -> float:
        """What it may use."""
        return self.cpu

    def undo_throttle_cpu(self) -> list[undo.Step]:
        """Let it run."""
        return [undo.cgroup_remove(Path(f"/chaos-fake/{self.name}"))]

    async def slow_database(self, name: str, rtt_ms: int) -> None:
        """Add it."""
        self.delays_ms[name] = rtt_ms

    async def database_delay_ms(self, name: str) -> int:
        """What is added."""
        return self.delays_ms.get(name, 0)

    def undo_slow_database(self, name: str) -> list[undo.Step]:
        """Remove it."""
        return [undo.toxic_delete("", self.name, name)]


def run_steps(steps: list[undo.Step], processes: dict[str, FakeProcess]) -> list[undo.Outcome]:
    """Run undo steps on modelled processes: the same steps and rules as `harness.safety.undo`; never raises."""
    return [_run_one(step, processes) for step in steps]


def _run_one(step: undo.Step, processes: dict[str, FakeProcess]) -> undo.Outcome:
    if step.do == "start":
        process = processes.get(str(step.args.get("name")))
        if process is None:
            return undo.Outcome(step, ok=False, said=f"nothing is named {step.args.get('name')!r}")
        return undo.Outcome(step, ok=True, said=process.start())
    if step.do == "signal":
        wanted, name = str(step.args.get("process")), str(step.args.get("signal"))
        found = next((p for p in processes.values() if str(p.process) == wanted and p.life.alive), None)
        if found is None:
            return undo.Outcome(step, ok=True, said=f"{wanted} is gone already")
        found.take(name)
        return undo.Outcome(step, ok=True, said=f"sent SIG{name} to {wanted}")
    return _let_go(step, processes)


def _let_go(step: undo.Step, processes: dict[str, FakeProcess]) -> undo.Outcome:
    """Take away what makes a process slow."""
    if step.do == "toxic.delete":
        removed = processes[str(step.args["proxy"])].delays_ms.pop(str(step.args["toxic"]), None)
        return undo.Outcome(step, ok=True, said=f"{'removed' if removed else 'gone already:'} {step.args['toxic']}")
    if step.do == "cgroup.remove":
        name = Path(str(step.args["path"])).name
        processes[name].cpu = 100
        return undo.Outcome(step, ok=True, said=f"{name} is not held back")
    known = "signal, start, toxic.delete, cgroup.remove"
    return undo.Outcome(step, ok=False, said=f"unknown undo step {step.do!r}; known here are {known}")
