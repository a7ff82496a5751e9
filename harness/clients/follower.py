"""Follows the output of a container into a file, over all its lives, while it runs."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING, Final

from harness.errors import StackError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from harness.clients.docker import Docker

_PAUSE_S: Final = 0.2
_ENDING_S: Final = 3.0
_FIRST: Final = 1.0
"""The beginning of time, for an SDK that takes 0 for "not given"."""


class Follower:
    """A thread that appends each line once. It opens `path` by itself, once: whoever moves the file moves its end too."""

    def __init__(self, docker: Docker, container: str, path: Path) -> None:
        self._docker = docker
        self._container = container
        self._file = path.open("ab", buffering=0)
        self._stopped = threading.Event()
        self._lines: Iterator[tuple[str, bytes]] | None = None
        self._last = ""
        self._thread = threading.Thread(target=self._run, name=f"logs {container[:12]}", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Write what is there by now, and end; blocks for a moment."""
        self._stopped.set()
        self._thread.join(_ENDING_S)
        if not self._thread.is_alive():
            self._file.close()

    def _run(self) -> None:
        # The stream of a container that stopped ends; its next life has another one.
        while True:
            last_turn = self._stopped.is_set()
            with suppress(StackError, OSError, ValueError):
                self._once()
            if last_turn or self._stopped.wait(_PAUSE_S):
                return

    def _once(self) -> None:
        for stamp, text in self._docker.lines(self._container, _seconds(self._last) if self._last else _FIRST):
            if stamp > self._last:  # all of one form, in nanoseconds
                self._file.write(text)
                self._last = stamp


class Deaths:
    """A thread that hears of every end of a project's containers: (container, exit code, Unix seconds)."""

    def __init__(self, docker: Docker, project: str, heard: Callable[[str, int, float], object]) -> None:
        self._docker = docker
        self._project = project
        self._heard = heard
        self._stopped = threading.Event()
        self._stream = docker.events(project, "die", time.time())
        self._thread = threading.Thread(target=self._run, name="deaths", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Hear no more."""
        self._stopped.set()
        with suppress(Exception):  # whatever it is, the stream is no use any more
            self._stream.close()
        self._thread.join(_ENDING_S)

    def _run(self) -> None:
        last = time.time_ns()
        while not self._stopped.is_set():
            with suppress(Exception):  # an engine that goes away ends the stream, and tells later what it missed
                for event in self._stream:
                    if event["timeNano"] > last:
                        last = event["timeNano"]
                        self._heard(event["Actor"]["ID"], int(event["Actor"]["Attributes"]["exitCode"]), last / 1e9)
            if not self._stopped.wait(_PAUSE_S):
                with suppress(StackError):
                    self._stream = self._docker.events(self._project, "die", last / 1e9)


def _seconds(stamp: str) -> float:
    return datetime.fromisoformat(stamp).timestamp()
