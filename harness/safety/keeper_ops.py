"""What the harness can ask of the keeper: one method per operation, each taking a request and giving the reply.

Standard library only: the keeper process imports this.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from harness.safety import proc, undo
from harness.safety.spec import Spec

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from harness.safety.keeper_children import Child, Children
    from harness.safety.keeper_log import Log

Reply = dict[str, Any]
_LOGGED = ("name", "fault", "path", "revert_by_s")  # never `env`: it may hold secrets
_KILL_S = 3.0
"""Less than an undo step has."""


class Armed(NamedTuple):
    """The undo of one fault, in the order of its deeds, and the monotonic second by which it must have run."""

    revert_by_s: float
    steps: list[undo.Step]

    def undo(
        self,
        starter: Callable[[str], str] | None,
        *,
        within_s: float | None = None,
        going: Sequence[undo.Step] = (),
    ) -> list[undo.Outcome]:
        """Run the steps, the last deed first, but for those that `going` makes moot: projects about to be removed."""
        steps = [step for step in self.steps[::-1] if not undo.is_moot(step, going)]
        return undo.run(steps, starter, within_s=within_s)


class _Request(NamedTuple):
    id: int
    args: dict[str, Any]
    fds: Sequence[int]


class Operations:
    """The keeper's state and everything that may be done to it. `push` sends an object to the harness."""

    def __init__(self, children: Children, log: Log, push: Callable[[Reply], None]) -> None:
        self.armed: dict[str, Armed] = {}
        self.owned: list[Path] = []
        self.projects: list[undo.Step] = []
        """Steps by `undo.remove_project`, for the end."""
        self.down_id: int | None = None
        """The id of the `down` request, once it was made: the loop ends and answers it."""
        self._children = children
        self._log = log
        self._push = push
        self._table: dict[str, Callable[[_Request], Reply | None]] = {
            "ping": lambda _: {},
            "spawn": self._spawn,
            "start": self._start,
            "stop": self._stop,
            "ask": self._ask,
            "asked": self._asked,
            "arm": self._arm,
            "disarm": self._disarm,
            "undo": self._undo,
            "own": self._own,
            "project": self._project,
            "turn": self._turn,
            "down": self._down,
        }

    def perform(self, message: dict[str, Any], fds: Sequence[int]) -> None:
        """Do what a request asks and answer it, now or later; what cannot be done is an error in the reply."""
        op = message.get("op")
        facts = {key: message[key] for key in _LOGGED if key in message}
        request = _Request(message.get("id", 0), message, fds)
        try:
            reply = self._table[str(op)](request)
        except (OSError, ValueError, LookupError, TypeError, subprocess.SubprocessError) as error:
            said = str(error) if isinstance(error, (OSError, ValueError)) else f"{type(error).__name__}: {error}"
            self._log.write("refused", op=op, error=said, **facts)
            self._push({"id": request.id, "ok": False, "error": said})
            return
        self._log.write("did" if reply is not None else "began", op=op, **facts)
        if reply is not None:
            self._push({"id": request.id, "ok": True, **reply})

    def exited(self, child: Child) -> None:
        """Tell the harness that a named process ended, and answer those who asked for it."""
        self._log.write("exited", name=child.spec.name, process=str(child.ref), code=child.code)
        self._push({"ev": "exited", "name": child.spec.name, **_names(child), "code": child.code})
        for request in child.stoppers:
            self._push({"id": request, "ok": True, **_ending(child)})

    def starter(self, name: str) -> str:
        """Start a process again for an undo step, and say what was done; raises OSError, ValueError, LookupError."""
        child = self._children.get(name)
        ended = ""
        if child.code is None and child.asked:
            self._end(child)
            ended = f"killed {child.ref}, which was asked to leave and had not; "
        elif child.code is None and proc.state(child.ref) == "gone":
            self._end(child)  # its last threads are still ending, and until then nobody can collect it
        if child.code is None:
            return f"{name} is running already as {child.ref}"
        return f"{ended}started {name} again as {self._started(self._children.restart(name)).ref}"

    def _end(self, child: Child) -> None:
        """Kill a process and wait until it is gone; raises TimeoutError."""
        proc.send(child.ref, signal.SIGKILL)
        until = time.monotonic() + _KILL_S
        while child.code is None:
            for ended in self._children.reap():
                self.exited(ended)
            if child.code is None and time.monotonic() >= until:
                raise TimeoutError(f"{child.spec.name} was killed and is not gone after {_KILL_S:g} s")
            time.sleep(0.001)

    def _started(self, child: Child) -> Child:
        self._push({"ev": "started", "name": child.spec.name, **_names(child)})
        return child

    def _spawn(self, request: _Request) -> Reply:
        return _names(self._started(self._children.spawn(Spec.from_json(request.args), request.fds)))

    def _start(self, request: _Request) -> Reply:
        name = str(request.args["name"])
        said = self.starter(name)
        return {"said": said, **_names(self._children.get(name))}

    def _stop(self, request: _Request) -> Reply | None:
        child = self._children.get(str(request.args["name"]))
        if child.code is not None:
            return _ending(child)
        child.stoppers.append(request.id)
        self._children.ask_to_stop(child, time.monotonic() + float(request.args["timeout_s"]))
        return None

    def _ask(self, request: _Request) -> Reply:
        """Ask a process to leave, and remember it: whoever asked cannot be its own witness."""
        child = self._children.get(str(request.args["name"]))
        if child.code is None and proc.send(child.ref, signal.SIGTERM):
            child.asked = True
            self._log.write("asked", name=child.spec.name, process=str(child.ref))
        return self._asked(request)

    def _asked(self, request: _Request) -> Reply:
        return {"asked": self._children.get(str(request.args["name"])).asked}

    def _arm(self, request: _Request) -> Reply:
        steps = [undo.Step.from_json(step) for step in request.args["steps"]]
        self.armed[str(request.args["fault"])] = Armed(float(request.args["revert_by_s"]), steps)
        return {}

    def _disarm(self, request: _Request) -> Reply:
        self.armed.pop(str(request.args["fault"]), None)
        return {}

    def _undo(self, request: _Request) -> Reply:
        fault = str(request.args["fault"])
        if fault not in self.armed:
            raise LookupError(f"fault {fault!r} is not armed; armed are {', '.join(self.armed) or 'none'}")
        outcomes = [outcome.to_json() for outcome in self.armed[fault].undo(self.starter)]
        self._log.write("undone", fault=fault, why="asked to", outcomes=outcomes)
        if all(outcome["ok"] for outcome in outcomes):
            del self.armed[fault]
        return {"outcomes": outcomes}

    def _own(self, request: _Request) -> Reply:
        path = Path(str(request.args["path"]))
        if not path.is_absolute() or not path.name.startswith("chaos-"):
            raise ValueError(f"{path} is not a folder of ours: its own name must start with chaos-")
        self.owned.append(path)
        return {}

    def _project(self, request: _Request) -> Reply:
        engine, name = Path(str(request.args["path"])), str(request.args["name"])
        if not engine.is_absolute() or not name.startswith("chaos-"):
            raise ValueError(f"{name} at {engine} is not a project of ours: its name must start with chaos-")
        self.projects.append(undo.remove_project(engine, name))
        return {}

    def _turn(self, request: _Request) -> Reply:
        """Write to another run's log from now on; the processes go on."""
        path = Path(str(request.args["path"]))
        if not path.is_absolute():
            raise ValueError(f"{path} is not absolute")
        if self.armed:
            raise ValueError(f"{', '.join(self.armed)} is armed: its run is not over")
        self._log.turn(path)
        self._log.write(
            "turned", to=path, pid=os.getpid(), alive={c.spec.name: str(c.ref) for c in self._children.alive()}
        )
        return {}

    def _down(self, request: _Request) -> None:
        self.down_id = request.id


def _names(child: Child) -> Reply:
    return {"pid": child.ref.pid, "start": child.ref.start}


def _ending(child: Child) -> Reply:
    return {"code": child.code, "forced": child.forced}
