"""The harness's side of the keeper: open it, ask it, and stand in for it should it be killed.

```
async with open_keeper(run_dir / "keeper.jsonl") as keeper:
    process = await keeper.spawn(Spec("coder-1", (binary, "server"), env), fds=[])
```
"""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import tempfile
from contextlib import asynccontextmanager
from pathlib import Path
from signal import SIGCONT, SIGKILL
from typing import TYPE_CHECKING, Any, NamedTuple

import anyio

from harness.errors import KeeperLost
from harness.safety import proc, undo
from harness.safety.calls import CALL_TIMEOUT_S, Calls
from harness.safety.leftovers import Leftovers
from harness.safety.undo import Outcome
from harness.safety.wire import Channel

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Sequence

    from harness.safety.spec import Spec
    from harness.safety.undo import Step

_UNDO_TIMEOUT_S = 60.0
_DOWN_TIMEOUT_S = 90.0
_ROOT = Path(__file__).resolve().parents[2]
_CODE = "import sys; sys.path.insert(0, {root!r}); from harness.safety.keeper import main; main()"


class Stopped(NamedTuple):
    """How a process ended: its exit code, or minus the signal; `forced` if it had to be killed."""

    code: int
    forced: bool


@asynccontextmanager
async def open_keeper(log: Path, root: Path = _ROOT) -> AsyncIterator[Keeper]:
    """Start a keeper that logs to `log`, an absolute path; `root` is the folder that holds this package.

    On leaving, everything it started is torn down, whatever happened inside and even when cancelled; `Keeper.left`
    then names what could not be. Raises KeeperLost if it does not come up.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs, tempfile.TemporaryFile() as stderr:
        # Isolated and without `site`: no variable of the caller and no .pth file may run code in the keeper.
        popen = subprocess.Popen(  # noqa: ASYNC220  a fork of a few ms, once per run
            [sys.executable, "-I", "-S", "-c", _CODE.format(root=str(root)), str(theirs.fileno()), str(log)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=stderr,
            pass_fds=[theirs.fileno()],
            start_new_session=True,
            cwd="/",
        )
        keeper = Keeper(popen, Channel(ours))
        theirs.close()
        try:
            try:
                await keeper.ping()
            except KeeperLost as error:
                keeper.fallback()
                stderr.seek(0)
                tail = stderr.read().decode(errors="replace").strip()[-2000:]
                raise KeeperLost(f"the keeper did not start: {tail or error}") from error
            yield keeper
        finally:
            await _shielded(keeper.leave())


class Keeper:
    """A running keeper. Every call raises KeeperLost once it is gone or if it does not answer in time (seconds).

    `processes` holds the latest ref of each name, also of those that an undo started again. `on_exit(name, process,
    code)` and `on_revert(fault, why, outcomes)` are yours to set; they are called from the event loop.
    """

    def __init__(self, popen: subprocess.Popen[bytes], channel: Channel) -> None:
        self.ref = proc.ref(popen.pid)
        self.left: list[str] = []
        self.processes: dict[str, proc.ProcessRef] = {}
        self.on_exit: Callable[[str, proc.ProcessRef, int], object] = lambda *_: None
        self.on_revert: Callable[[str, str, list[Outcome]], object] = lambda *_: None
        self._popen = popen
        self._calls = Calls(channel, str(self.ref), self._happened)
        self.lost = self._calls.lost
        self._leftovers = Leftovers()
        self._finished = False

    async def ping(self) -> None:
        """Come back once the keeper answers. It looks who has ended before it does, and tells of them first."""
        await self._calls.ask("ping")

    async def spawn(self, spec: Spec, fds: Sequence[int] = ()) -> proc.ProcessRef:
        """Start a process; `fds` are the open files its stdio indexes name. Raises StackError if it cannot run."""
        self._leftovers.stop_signals[spec.name] = spec.stop_signal
        return _ref(await self._calls.ask("spawn", fds=fds, **spec.to_json()))

    async def start(self, name: str) -> proc.ProcessRef:
        """Start a process again as it was first started, unless it runs: one that was asked to leave is ended first.

        Raises StackError if it cannot run.
        """
        return _ref(await self._calls.ask("start", name=name))

    async def stop(self, name: str, timeout_s: float = 5.0) -> Stopped:
        """Ask a process to stop, kill it after `timeout_s`, and come back once it is gone, frozen or not."""
        reply = await self._calls.ask("stop", within_s=timeout_s + CALL_TIMEOUT_S, name=name, timeout_s=timeout_s)
        return Stopped(reply["code"], reply["forced"])

    async def ask_to_leave(self, name: str) -> None:
        """Send SIGTERM to a process, and let the keeper remember it; one that is gone already is no error."""
        await self._calls.ask("ask", name=name)

    async def was_asked(self, name: str) -> bool:
        """Whether the latest process of that name was asked to leave."""
        return bool((await self._calls.ask("asked", name=name))["asked"])

    async def arm(self, fault: str, revert_by_s: float, steps: Sequence[Step]) -> None:
        """Hand over the undo of a fault before its deed; `revert_by_s` is a second of the monotonic clock.

        Past it the keeper undoes everything and ends the run. `steps` are in the order of the deeds.
        """
        self._leftovers.armed[fault] = list(steps)
        await self._calls.ask("arm", fault=fault, revert_by_s=revert_by_s, steps=[step.to_json() for step in steps])

    async def disarm(self, fault: str) -> None:
        """Forget the undo of a fault; one that is not armed is fine."""
        await self._calls.ask("disarm", fault=fault)
        self._leftovers.armed.pop(fault, None)

    async def undo(self, fault: str) -> list[Outcome]:
        """Undo an armed fault now, the last deed first; disarmed only if every step was ok.

        Raises StackError if it is not armed.
        """
        reply = await self._calls.ask("undo", within_s=_UNDO_TIMEOUT_S, fault=fault)
        outcomes = [Outcome.from_json(outcome) for outcome in reply["outcomes"]]
        if all(outcome.ok for outcome in outcomes):
            self._leftovers.armed.pop(fault, None)
        return outcomes

    async def own(self, path: Path) -> None:
        """Have a folder removed at the end; its own name must start with `chaos-`, or StackError is raised."""
        await self._calls.ask("own", path=str(path))
        self._leftovers.owned.append(path)

    async def project(self, engine: Path, name: str) -> None:
        """Have a Compose project removed at the end, from the engine whose socket is `engine`.

        Its name must start with `chaos-`, or StackError is raised.
        """
        await self._calls.ask("project", path=str(engine), name=name)
        self._leftovers.projects.append(undo.remove_project(engine, name))

    async def turn(self, log: Path) -> None:
        """Serve another run: its log, an absolute path, is written from now on. Raises StackError while a fault is armed."""
        await self._calls.ask("turn", path=str(log))

    @property
    def armed(self) -> list[str]:
        """Faults whose undo it holds."""
        return sorted(self._leftovers.armed)

    async def down(self) -> list[str]:
        """Tear everything down in good order and end the keeper; gives one line for each thing that is left."""
        self.left = (await self._calls.ask("down", within_s=_DOWN_TIMEOUT_S))["left"]
        self._finished = True
        return self.left

    def fallback(self) -> list[Outcome]:
        """Do the keeper's work, as it is gone or must go; blocks for up to some seconds, and may be repeated.

        Kills the keeper if it lives, undoes what was armed, stops what is left of its processes, removes the folders.
        """
        if not self._finished:
            proc.send(self.ref, SIGKILL)
            self._popen.wait()
            self._calls.close()
            self._leftovers.processes = self.processes
            outcomes, self.left = self._leftovers.clear()
            self._finished = True
            return outcomes
        return []

    async def leave(self) -> None:
        """End it all, by `down` or by `fallback`, and release what this side holds. Called by `open_keeper`."""
        try:
            if not self._finished:
                proc.send(self.ref, SIGCONT)  # one that was stopped can still do its work properly
                await self.down()
        except KeeperLost:
            self.fallback()
        finally:
            self._calls.close()
            await asyncio.to_thread(self._popen.wait)

    def _happened(self, event: dict[str, Any]) -> None:
        """Take in an event. Callbacks run on their own, so that an error in one cannot keep us from reading."""
        if event["ev"] == "started":
            self.processes[event["name"]] = _ref(event)
        elif event["ev"] == "exited":
            asyncio.get_running_loop().call_soon(lambda: self.on_exit(event["name"], _ref(event), event["code"]))
        elif event["ev"] == "reverted":
            outcomes = [Outcome.from_json(outcome) for outcome in event["outcomes"]]
            if all(outcome.ok for outcome in outcomes):
                self._leftovers.armed.pop(event["fault"], None)
            asyncio.get_running_loop().call_soon(lambda: self.on_revert(event["fault"], event["why"], outcomes))


def _ref(message: dict[str, Any]) -> proc.ProcessRef:
    return proc.ProcessRef(message["pid"], message["start"])


async def _shielded(work: Coroutine[Any, Any, None]) -> None:
    """Finish the work even if we are cancelled, by asyncio or by a scope of anyio, and be cancelled then."""
    task = asyncio.create_task(work)
    cancelled: asyncio.CancelledError | None = None
    with anyio.CancelScope(shield=True):
        while not task.done():
            try:
                await asyncio.wait({task})
            except asyncio.CancelledError as error:
                cancelled = error
    task.result()
    if cancelled is not None:
        raise cancelled
