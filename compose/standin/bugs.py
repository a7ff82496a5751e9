"""The seeded bugs, and for each its twin: legal, only slow. All are off unless STANDIN_BUGS names them."""

from collections.abc import Mapping
from types import MappingProxyType

BUGS: Mapping[str, str] = MappingProxyType(
    {
        "ack-before-commit": "Workspace creates and build posts answer 201 at once and commit 5 s (wall) later.",
        "slow-commit": "Twin of ack-before-commit: the commit comes 300 ms (wall) late, the 201 only after it.",
        "watch-no-snapshot": "A workspace watch sends its ping frame but no first snapshot.",
        "watch-slow-snapshot": "Twin of watch-no-snapshot: the snapshot comes 800 ms (wall) after the ping frame.",
        "ready-before-pool": "The listener opens at once, the database pool 4 s (wall) later; until then 500.",
        "slow-ready": "Twin of ready-before-pool: the pool opens 2 s (wall) late, the listener only after it.",
        "heartbeat-10x": "Replicas beat every 50 s and give a peer up after 150 s (server time).",
        "heartbeat-1.3x": "Twin of heartbeat-10x: 6.5 s and 19.5 s (server time).",
        "holds-lock-in-request": "Every authenticated request holds a shared advisory lock for 100 ms (wall) or more "
        "inside one transaction; every 2 s (wall) each replica needs it exclusively.",
        "lock-with-timeout": "Twin of holds-lock-in-request: for 50 ms, and PostgreSQL ends a session 400 ms (wall) idle.",
        "shared-lock-contention": "Every 1.5 s (wall) a replica holds an advisory lock while it works for 30 ms of processor "
        "time; every authenticated request of every replica waits for it.",
        "lock-if-free": "Twin of shared-lock-contention: the requests look whether it is free, and do not wait.",
        "n-plus-one": "Every authenticated request makes 40 more round trips to the database.",
        "few-more-queries": "Twin of n-plus-one: 6 more.",
        "reconnect-no-backoff": "For 2 s (wall) after a replica's watchers were cut off it accepts watches and closes them at once, "
        "so that a client that starts over after each accept never waits.",
        "slow-reconnect": "Twin of reconnect-no-backoff: for so long it accepts them and says nothing, then goes on as usual.",
        "pool-leak-under-latency": "Every 250 ms (wall) a replica looks at its database; when that takes 20 ms or more, the "
        "connection never comes back to the pool. The last one is kept.",
        "pool-returns-late": "Twin of pool-leak-under-latency: it comes back 500 ms (wall) later.",
        "health-never-warns": "The health report has the database's latency, and no warning however long it is.",
        "health-report-slow": "Twin of health-never-warns: the report takes 3 s (wall) longer.",
        "ignores-sigterm": "SIGTERM is written to the log, and nothing follows from it.",
        "drain-never-ends": "A replica that is asked to leave closes its listener, and then waits for ever.",
        "no-drain": "SIGTERM ends a replica at once: requests in flight and streams are cut, builds left behind.",
        "slow-drain": "Twin of no-drain: 1 s (wall) passes before requests are waited for and streams are closed.",
        "orphan-on-stop": "A replica that is asked to leave takes builds for 4 s (wall) more, works on none, and leaves them.",
        "interrupts-build": "A replica that is asked to leave takes builds for 4 s (wall) more, and each of them fails at once.",
        "last-builds": "Twin of orphan-on-stop and interrupts-build: it takes builds for 4 s (wall) more, and leaves when all have ended.",
        "slow-exit": "Twin of ignores-sigterm and drain-never-ends: the process ends 3 s (wall) after all else of a shutdown is done.",
        "latency-not-reported": "A replica's row says that its way to the database takes no time, however long it takes.",
        "latency-reported-late": "Twin of latency-not-reported: it says what was measured one heartbeat before.",
        "late-write-at-thaw": "A build post is carried out although its caller has gone: after a freeze, too late.",
        "late-write-checked": "Twin of late-write-at-thaw: the same, but it is rolled back when its caller has gone.",
        "concurrent-migration": "A start on a database in use takes no lock: it reads the migration table's row, works for "
        "5 s (wall), and replaces the row it read. Those that start meanwhile do too, and each leaves a row.",
        "dirty-flag": "A start on a database in use marks its version dirty for 5 s (wall); those that start meanwhile "
        "find it dirty and give up.",
        "slow-migration": "Twin of both: the same work takes 1 s (wall), in one transaction under the lock.",
    },
)


class UnknownBugError(ValueError):
    """A name in STANDIN_BUGS is not in the table."""


def parse_bugs(text: str) -> frozenset[str]:
    """Read a comma list of bug names; raise UnknownBugError for a name not in ``BUGS``."""
    names = frozenset(name.strip() for name in text.split(",") if name.strip())
    unknown = sorted(names - BUGS.keys())
    if unknown:
        raise UnknownBugError(f"unknown bug {', '.join(unknown)} in STANDIN_BUGS; known: {', '.join(sorted(BUGS))}")
    return names
