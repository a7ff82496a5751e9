"""One run per target: a lock file that the kernel releases however its holder ends."""

from __future__ import annotations

import fcntl
import json
import os
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from harness.errors import LockHeld

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def lock(state_dir: Path, target: str, *, run: str, run_dir: Path) -> Iterator[None]:
    """Hold a target for this run. Raises LockHeld, naming the holder and what to do, if another run has it."""
    path = state_dir / "locks" / f"{quote(target, safe='')}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise LockHeld(_held(target, _holder(fd))) from error
        os.ftruncate(fd, 0)
        os.pwrite(fd, json.dumps({"run": run, "pid": os.getpid(), "run_dir": str(run_dir)}).encode(), 0)
        yield
    finally:
        os.close(fd)


def _holder(fd: int) -> dict[str, Any]:
    with suppress(ValueError):
        holder = json.loads(os.pread(fd, 65536, 0))
        if isinstance(holder, dict):
            return holder
    return {}  # it got the lock a moment ago and has not signed yet


def _held(target: str, holder: dict[str, Any]) -> str:
    run, pid = holder.get("run", "unknown"), holder.get("pid", "unknown")
    return (
        f"target {target} is in use by run {run} (pid {pid}, run directory {holder.get('run_dir', 'unknown')}). "
        f"Wait for it to end, or end it with: kill -INT {pid}"
    )
