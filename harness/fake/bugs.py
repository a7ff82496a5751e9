"""What the seeded bugs and their twins change, by the stand-in's own names. Times in seconds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

KEY = "STANDIN_BUGS"
NAMES = (
    "ack-before-commit",
    "slow-commit",
    "watch-no-snapshot",
    "watch-slow-snapshot",
    "ready-before-pool",
    "slow-ready",
    "heartbeat-10x",
    "heartbeat-1.3x",
    "holds-lock-in-request",
    "lock-with-timeout",
    "shared-lock-contention",
    "lock-if-free",
    "n-plus-one",
    "few-more-queries",
    "reconnect-no-backoff",
    "slow-reconnect",
    "pool-leak-under-latency",
    "pool-returns-late",
    "health-never-warns",
    "health-report-slow",
    "ignores-sigterm",
    "drain-never-ends",
    "no-drain",
    "slow-drain",
    "orphan-on-stop",
    "interrupts-build",
    "last-builds",
    "slow-exit",
    "latency-not-reported",
    "latency-reported-late",
    "late-write-at-thaw",
    "late-write-checked",
    "concurrent-migration",
    "dirty-flag",
    "slow-migration",
)
_LATER = {"slow-drain": 1.0, "orphan-on-stop": 4.0, "interrupts-build": 4.0, "last-builds": 4.0, "slow-exit": 3.0}
"""Seconds by which it leaves later."""


_MIGRATIONS = {"concurrent-migration": "unlocked", "dirty-flag": "dirty", "slow-migration": "locked"}


@dataclass(frozen=True)
class Behaviour:
    """How the modelled server behaves."""

    commit_after_answer_s: float = 0.0
    commit_before_answer_s: float = 0.0
    snapshot_s: float | None = 0.0
    """None: no snapshot ever."""
    cut_counts_s: float = 0.0
    """For how long after its watchers were cut off it treats new watches in another way."""
    closes_after_cut: bool = False
    """Whether it closes them at once; else they hear nothing until then."""
    listen_before_pool: bool = False
    pool_s: float = 0.0
    heartbeat_factor: float = 1.0
    lock_hold_s: float = 0.0
    lock_limit_s: float | None = None
    turn_s: float = 0.0
    """How long each request that needs the database holds a lock alone, on a replica that has its whole processor: what the
    stand-in's refresh does to the others, in a simpler way."""
    round_trips: int = 1
    """To the database, by each request that needs it."""
    leaks: bool = False
    """Whether a slow look at the database costs a connection."""
    connection_back_s: float | None = None
    """When it comes back. None: never."""
    warns: bool = True
    """Whether the health report warns of a database that is far."""
    report_late_s: float = 0.0
    obeys: bool = True
    """Whether it leaves when it is asked to."""
    drains: bool = True
    """Whether one that leaves says goodbye to its streams and ends its builds first."""
    leaves_s: float | None = 0.2
    """From the end of listening to the end of the process. None: never."""
    takes_builds_s: float = 0.0
    """For how long one that leaves takes builds still."""
    orphans: bool = False
    """Whether it then works on none of them, and leaves without an end of any."""
    interrupts: bool = False
    """Whether they fail at once."""
    latency_beats_late: int | None = 0
    """By how many heartbeats a replica's own figure for the database lags. None: it says 0."""
    outlives_caller: bool = False
    """Whether a build is posted although nobody waits for the answer any more."""
    migrates_again: str = ""
    """How a start on a database in use works on its schema: not at all, "unlocked", "dirty" or "locked"."""


def behaviour(server_env: Mapping[str, str]) -> Behaviour:
    """Read the comma list of bugs; raise UsageError for a name nobody knows."""
    names = {name.strip() for name in server_env.get(KEY, "").split(",")} - {""}
    unknown = sorted(names - set(NAMES))
    if unknown:
        raise UsageError(f"{KEY}: unknown {', '.join(unknown)}; known: {', '.join(NAMES)}")
    return Behaviour(
        commit_after_answer_s=5.0 if "ack-before-commit" in names else 0.0,
        commit_before_answer_s=0.3 if "slow-commit" in names else 0.0,
        snapshot_s=None if "watch-no-snapshot" in names else 0.8 if "watch-slow-snapshot" in names else 0.0,
        cut_counts_s=2.0 if names & {"reconnect-no-backoff", "slow-reconnect"} else 0.0,
        closes_after_cut="reconnect-no-backoff" in names,
        listen_before_pool="ready-before-pool" in names,
        pool_s=4.0 if "ready-before-pool" in names else 2.0 if "slow-ready" in names else 0.0,
        heartbeat_factor=10.0 if "heartbeat-10x" in names else 1.3 if "heartbeat-1.3x" in names else 1.0,
        lock_hold_s=0.1 if "holds-lock-in-request" in names else 0.05 if "lock-with-timeout" in names else 0.0,
        lock_limit_s=0.4 if "lock-with-timeout" in names else None,
        obeys="ignores-sigterm" not in names,
        drains="no-drain" not in names,
        leaves_s=None if "drain-never-ends" in names else 0.2 + sum(s for bug, s in _LATER.items() if bug in names),
        takes_builds_s=4.0 if names & {"orphan-on-stop", "interrupts-build", "last-builds"} else 0.0,
        orphans="orphan-on-stop" in names,
        interrupts="interrupts-build" in names,
        latency_beats_late=None if "latency-not-reported" in names else int("latency-reported-late" in names),
        outlives_caller="late-write-at-thaw" in names,
        migrates_again=next((how for bug, how in _MIGRATIONS.items() if bug in names), ""),
        turn_s=0.001 if "shared-lock-contention" in names else 0.0,  # its twin waits for nobody
        leaks=bool(names & {"pool-leak-under-latency", "pool-returns-late"}),
        connection_back_s=0.5 if "pool-returns-late" in names else None,
        warns="health-never-warns" not in names,
        report_late_s=3.0 if "health-report-slow" in names else 0.0,
        round_trips=41 if "n-plus-one" in names else 7 if "few-more-queries" in names else 1,
    )
