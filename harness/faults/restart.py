"""Restart: the replica that is asked to leave, has left, and is started again, as a rollout does to each."""

from __future__ import annotations

from dataclasses import dataclass

from harness.faults.stop import Stop


@dataclass(frozen=True)
class Restart(Stop):
    """SIGTERM, then a start as soon as the process is gone and users could see it.

    A stop that nobody holds: the start is its undo, and the wait is part of the proof, and as long as that at most. One that
    is still there then is killed before it is started, as an orchestrator does when its grace period is over, and gets no
    credit for what it keeps.
    """
