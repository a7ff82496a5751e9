"""The harness's command line with a saboteur inside: after a chosen event was written it does what it was told.

`python crash_driver.py ORDERS ARGUMENTS…`, where ORDERS is JSON:

    acts     list of {kind, name, count, seq, do, after_s}: which event, and the deeds to do once it is written
    noop     name of a fault whose inject() does nothing
    patch    {"module:attribute": value}: replaces a value before the command starts
    steady   good slots in a row that end the warm-up
    start_s  longest wait for a part of the stack to start

Every act is noted in the file `acted` of the working folder before it is done: an act that never came is no test.
"""

from __future__ import annotations

import errno
import importlib
import json
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

from harness import eventlog, events, stack
from harness.cli import main
from harness.discover import faults
from harness.safety import proc

_SIGNALS = {"kill": signal.SIGKILL, "stop": signal.SIGSTOP, "int": signal.SIGINT, "term": signal.SIGTERM}


class Saboteur:
    """Watches the event log being written; `names` maps a process of the stack to its latest ref."""

    def __init__(self, acts: list[dict[str, Any]]) -> None:
        self.acts = acts
        self.names: dict[str, proc.ProcessRef] = {}
        self.counts: dict[int, int] = {}
        self.hurt: list[str] = []
        self.full = False

    def saw(self, event: events.Event) -> None:
        if isinstance(event, events.ResourceCreated) and event.what == "process":
            self.names[event.name] = proc.ProcessRef.parse(event.ref)
        for number, act in enumerate(self.acts):
            wanted = {"kind": event.kind, "name": getattr(event, "name", None), "seq": event.seq}
            if any(act[key] != value for key, value in wanted.items() if key in act):
                continue
            self.counts[number] = self.counts.get(number, 0) + 1
            if self.counts[number] == act.get("count", 1):
                self._start(act, event)

    def _start(self, act: dict[str, Any], event: events.Event) -> None:
        with Path("acted").open("a") as file:
            file.write(
                json.dumps({"kind": event.kind, "seq": event.seq, "do": act["do"], "at": time.monotonic()}) + "\n"
            )
        if act.get("after_s"):
            threading.Timer(act["after_s"], self._do, [act["do"]]).start()
        else:
            self._do(act["do"])

    def _do(self, deeds: list[str]) -> None:
        for deed in deeds:
            what, _, name = deed.partition(":")
            if what == "keeper":
                os.kill(_keeper(), signal.SIGKILL)
            elif what == "group":  # as a terminal does it: everyone in the foreground
                os.killpg(0, signal.Signals[f"SIG{name}"])
            elif what == "process":  # process:KILL:coder-1, or process:STOP:@ for the targets of the event's fault
                signum, _, whom = name.partition(":")
                for target in self.hurt if whom == "@" else [whom]:
                    proc.send(self.names[target], signal.Signals[f"SIG{signum}"])
            elif what == "docker":  # docker:pause:proxy
                import crash_engine

                sort, _, role = name.partition(":")
                crash_engine.do(sort, crash_engine.by_role(Path.cwd(), role))
            elif what == "fill":
                _fill(Path(name))
            elif what == "full":
                self.full = True
            else:
                os.kill(os.getpid(), _SIGNALS[what])


def _keeper() -> int:
    mine = proc.children(os.getpid())
    return next(p.pid for p in mine if b"harness.safety.keeper" in Path(f"/proc/{p.pid}/cmdline").read_bytes())


def _fill(folder: Path) -> None:
    """Leave not one free byte in the file system of `folder`."""
    with (folder / "filler").open("wb", buffering=0) as file:
        for size in (1 << 20, 1 << 12, 1):
            try:
                while file.write(b"x" * size) == size:
                    pass
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise


def sabotage(acts: list[dict[str, Any]]) -> None:
    saboteur = Saboteur(acts)
    real = eventlog.EventLog.emit

    def emit(self: eventlog.EventLog, event: events.Event) -> events.Event:
        if saboteur.full:
            self._file = Path("/dev/full").open("w")  # noqa: SIM115 - the log closes it
        stamped = real(self, event)
        if isinstance(event, events.FaultPrepared):
            saboteur.hurt = list(event.targets)
        saboteur.saw(stamped)
        return stamped

    eventlog.EventLog.emit = emit  # type: ignore[method-assign]


def do_nothing(name: str) -> None:
    async def inject(self: object, target: object) -> None:
        """Do nothing at all."""

    faults()[name].inject = inject  # type: ignore[attr-defined]


def patch(values: dict[str, Any]) -> None:
    for place, value in values.items():
        module, _, attribute = place.partition(":")
        setattr(importlib.import_module(module), attribute, value)


def impatient(seconds: float) -> None:
    """Give the parts of the stack this long to start."""
    init: Any = stack.StackRequest.__init__
    default = stack.StackRequest().start_timeout_s
    init.__defaults__ = tuple(seconds if value == default else value for value in init.__defaults__)


if __name__ == "__main__":
    orders = json.loads(sys.argv[1])
    sabotage(orders.get("acts", []))
    if orders.get("noop"):
        do_nothing(orders["noop"])
    # What is looked at here is the end of a run, on a machine that plays several: a calm baseline is not the question.
    calm = {"harness.course:_STEADY_SLOTS": orders.get("steady", 60), "harness.course:_STEADY_LOAD": 0.0}
    patch(calm | {"harness.live:_ERRORS": 0.9} | orders.get("patch", {}))
    if orders.get("start_s"):
        impatient(orders["start_s"])
    sys.argv = ["coder-chaos", *sys.argv[2:]]
    main()
