"""The write history: a few writers that create, stop and start workspaces, one writer per object, all day long.

A write is *acknowledged* when its 2xx was fully read, *refused* on a 4xx. Anything else is unknown, and is settled by
reading before the writer goes on: exists, absent, or unsettled. The truth check at the end holds it all to account.
The end of a build is waited for: it is over, stuck, or unread when nobody could say.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import anyio

from harness.errors import RunDirError
from harness.ledger import HISTORY
from harness.stack import Answer, NoAnswer

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from harness.stack import Api

_TERMINAL = ("succeeded", "failed", "canceled")
STUCK_S = 10.0
"""A build that is not over by then lost its provisioner; the writer takes a new object (the reaper needs minutes)."""
_SETTLE_S = 20.0
_POLL_S = 0.4
_THINK_S = 2.5
"""Pause between the end of one build and the next write, so that the rate does not follow the server's speed."""


class HistoryFile:
    """The one writer of `history.jsonl`."""

    def __init__(self, directory: Path, clock_ns: Callable[[], int]) -> None:
        """Create the file."""
        self._file = (directory / HISTORY).open("x", encoding="utf-8", buffering=1)
        self._clock_ns = clock_ns

    def row(self, writer: str, event: str, **data: Any) -> None:
        """Write one line; raises RunDirError when the disk refuses."""
        line = {"t_ns": self._clock_ns(), "writer": writer, "ev": event, **data}
        try:
            self._file.write(json.dumps(line, separators=(",", ":")) + "\n")
        except OSError as error:
            raise RunDirError(
                f"cannot write to {self._file.name}: {error.strerror}; free space and run again"
            ) from error

    def close(self) -> None:
        """Close; an error was reported by `row` already."""
        try:
            self._file.close()
        except OSError:
            return


@dataclass
class Writer:
    """One writer and the object it owns now."""

    name: str
    api: Api
    token: str
    template: str
    prefix: str
    out: HistoryFile
    workspace: str
    build: int = 1
    made: int = 0

    async def run(self) -> None:
        """Write until cancelled: stop, start, stop, …; a new object when the old one is stuck."""
        while True:
            await anyio.sleep(_THINK_S)
            running = self.build % 2 == 1
            if await self._write("stop" if running else "start") and await self._over():
                continue
            await self._new_object()

    async def _write(self, op: str) -> bool:
        number = self.build + 1
        self.out.row(self.name, "invoke", op=op, workspace=self.workspace, build_number=number)
        try:
            answer = await self.api.call(
                "POST", f"/workspaces/{self.workspace}/builds", {"transition": op}, token=self.token
            )
        except NoAnswer:
            return await self._settle(number)
        if answer.ok and isinstance(answer.body, dict):
            self.build = int(answer.body["build_number"])
            self._done("ack", answer, build_number=self.build)
            return True
        if 400 <= answer.status < 500:
            self._done("refused", answer, status=answer.status)
            return False
        return await self._settle(number)

    async def _over(self) -> bool:
        """Wait until the latest build ended; False when it did not end well, is stuck, or cannot be read."""
        seen = ""
        with anyio.move_on_after(STUCK_S):
            while seen not in _TERMINAL:
                latest = await self._latest()
                if latest is not None and latest["build_number"] == self.build:
                    seen = str(latest["job"]["status"])
                if seen not in _TERMINAL:
                    await anyio.sleep(_POLL_S)
        what = "over" if seen in _TERMINAL else "stuck" if seen else "unread"
        self.out.row(self.name, what, workspace=self.workspace, build_number=self.build, status=seen)
        return seen == "succeeded"

    async def _settle(self, number: int) -> bool:
        """Find out by reading whether an unknown write happened; False when it did not, or nobody can say."""
        with anyio.move_on_after(_SETTLE_S):
            while True:
                latest = await self._latest()
                if latest is not None:
                    there = int(latest["build_number"]) >= number
                    self.out.row(
                        self.name, "exists" if there else "absent", workspace=self.workspace, build_number=number
                    )
                    self.build = int(latest["build_number"])
                    return there
                await anyio.sleep(_POLL_S)
        self.out.row(self.name, "unsettled", workspace=self.workspace, build_number=number)
        return False

    async def _latest(self) -> dict[str, Any] | None:
        try:
            answer = await self.api.call("GET", f"/workspaces/{self.workspace}", token=self.token)
        except NoAnswer:
            return None
        return answer.body["latest_build"] if answer.ok and isinstance(answer.body, dict) else None

    async def _new_object(self) -> None:
        """Create a workspace of our own until one is there; each try is a write like any other."""
        while True:
            self.made += 1
            name = f"{self.prefix}-{self.made}"
            self.out.row(self.name, "invoke", op="create", workspace="", build_number=1)
            try:
                body = {"name": name, "template_id": self.template}
                answer = await self.api.call("POST", "/users/me/workspaces", body, token=self.token)
            except NoAnswer:
                answer = Answer(0, "")
            if answer.ok and isinstance(answer.body, dict):
                self.workspace, self.build = str(answer.body["id"]), 1
                self._done("ack", answer, workspace=self.workspace, build_number=1)
                if await self._over():
                    return
            elif 400 <= answer.status < 500:
                self._done("refused", answer, status=answer.status)
            else:
                await self._settle_create(name)
            await anyio.sleep(_POLL_S)

    async def _settle_create(self, name: str) -> None:
        with anyio.move_on_after(_SETTLE_S):
            while True:
                try:
                    answer = await self.api.call("GET", f"/users/me/workspace/{name}", token=self.token)
                except NoAnswer:
                    answer = Answer(0, "")
                if answer.ok and isinstance(answer.body, dict):
                    self.out.row(self.name, "exists", workspace=str(answer.body["id"]), build_number=1)
                    return
                if answer.status == 404:
                    self.out.row(self.name, "absent", workspace="", build_number=1)
                    return
                await anyio.sleep(_POLL_S)
        self.out.row(self.name, "unsettled", workspace="", build_number=1)

    def _done(self, event: str, answer: Answer, **data: Any) -> None:
        self.out.row(self.name, event, upstream=answer.upstream, **data)
