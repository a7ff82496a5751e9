"""The keeper: one small process per run, parent of every local process and dead man's switch.

It owns what a run starts, so that nothing survives the run:

```
harness gone (end of the channel)   \
an armed fault passes its revert_by  > undo what is armed -> stop all -> reap all -> remove our folders -> exit
an error in here                    /
`down` is the same, without haste
```
It is one thread that never waits for the harness, imports only the standard library and its neighbours, ignores the
signals that end a terminal session, and writes its own log. Should it be killed all the same, the kernel kills its
direct children, and `Keeper.fallback` on the harness's side does the rest.
"""

from __future__ import annotations

import os
import select
import selectors
import signal
import socket
import sys
import time
import traceback
from pathlib import Path

from harness.openfiles import raise_limit
from harness.safety.keeper_children import Children, become_subreaper
from harness.safety.keeper_log import Log
from harness.safety.keeper_ops import Operations
from harness.safety.keeper_teardown import Teardown
from harness.safety.wire import Channel, close_all


def main() -> None:
    """Run as the keeper: argv is the descriptor of the control channel and the path of the log."""
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(signum, signal.SIG_IGN)
    become_subreaper()
    raise_limit()  # for the meter, the replicas and the balancer, which inherit it
    Keeper(Channel(socket.socket(fileno=int(sys.argv[1]))), Log(Path(sys.argv[2]))).run()


class Keeper:
    """The loop: requests, ended processes and deadlines, until there is a reason to stop."""

    def __init__(self, channel: Channel, log: Log) -> None:
        self._channel = channel
        self._log = log
        self._children = Children()
        self._ops = Operations(self._children, log, channel.put)
        self._wakeup = _wake_on_child_exit()
        self._why: str | None = None

    def run(self) -> None:
        """Serve until there is a reason to stop, then tear everything down."""
        self._log.write("up", pid=os.getpid(), harness=os.getppid())
        try:
            self._serve()
        except Exception:  # noqa: BLE001  whatever broke, the run's processes must not outlive it
            self._log.write("error", traceback=traceback.format_exc())
            self._why = "the keeper failed, see its log"
        asked = self._ops.down_id is not None and self._why is None
        why = self._why or "asked to"
        self._log.write("teardown", why=why)
        teardown = Teardown(self._children, self._log, why, self._sleep, hasty=not asked)
        for fault, outcomes in teardown.undo_all(self._ops.armed, self._ops.projects).items():
            said = [outcome.to_json() for outcome in outcomes]
            self._channel.put({"ev": "reverted", "fault": fault, "why": why, "outcomes": said})
        left = teardown.finish(self._ops.owned, self._ops.projects)
        if self._ops.down_id is not None:
            self._channel.put({"id": self._ops.down_id, "ok": True, "left": left})

    def _serve(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._channel, selectors.EVENT_READ)
            selector.register(self._wakeup, selectors.EVENT_READ)
            # Something the harness forked may hold a copy of its end; its own death counts all the same.
            harness = os.pidfd_open(os.getppid())
            selector.register(harness, selectors.EVENT_READ)
            while self._why is None and self._ops.down_id is None:
                wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if self._channel.backlog else 0)
                selector.modify(self._channel, wanted)
                ready = {key.fileobj for key, _ in selector.select(self._patience_s())}
                self._turn(harness_gone=harness in ready)

    def _turn(self, *, harness_gone: bool) -> None:
        """Do what there is to do. Requests come before deadlines, as one of them may be the awaited disarm."""
        self._collect()
        self._children.kill_overdue()
        self._channel.flush()
        if harness_gone:
            self._why = "the harness is gone"
        while self._why is None and self._ops.down_id is None and self._answer():
            self._collect()
        for fault, armed in self._ops.armed.items():
            if armed.revert_by_s <= time.monotonic() and self._why is None:
                self._why = f"{fault} passed its revert_by: the harness is stalled"

    def _patience_s(self) -> float | None:
        deadlines = [armed.revert_by_s for armed in self._ops.armed.values()]
        kill_at = self._children.next_deadline()
        if kill_at is not None:
            deadlines.append(kill_at)
        # select takes no more than some million seconds; a deadline beyond an hour is looked at again then.
        return min(3600.0, max(0.0, min(deadlines) - time.monotonic())) if deadlines else None

    def _collect(self) -> None:
        _drain(self._wakeup)
        for child in self._children.reap():
            self._ops.exited(child)

    def _answer(self) -> bool:
        """Take one request and perform it; False if there is none."""
        try:
            message, fds = self._channel.get()
        except BlockingIOError:
            return False
        except EOFError:
            self._why = "the harness is gone"
            return False
        try:
            self._ops.perform(message, fds)
        finally:
            close_all(fds)
        return True

    def _sleep(self, seconds: float) -> None:
        select.select([self._wakeup], [], [], max(0.0, seconds))
        _drain(self._wakeup)


def _drain(wakeup: socket.socket) -> None:
    try:
        while wakeup.recv(4096):
            pass
    except BlockingIOError:
        return


def _wake_on_child_exit() -> socket.socket:
    """Make every SIGCHLD readable on a socket, without a race between checking and sleeping."""
    reader, writer = socket.socketpair()
    reader.setblocking(False)
    writer.setblocking(False)
    signal.set_wakeup_fd(writer.detach(), warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    return reader
