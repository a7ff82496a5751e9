"""Load: how the Locust child processes are started, and how their records are read back.

Locust patches the process that imports it, so it runs in children only; this module names it on their command line.
A simulated user makes one request per second on average (`loadtests/dashboard.py`), so users and requests per second
are the same number.
"""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from harness.errors import RunDirError, UsageError
from harness.records import LOAD, LOAD_START, LoadMark, Outcome, read_load, torn_bytes

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

SIZES: Final = {"dev": 20, "nightly": 60, "gameday": 180}
"""Requests per second of each size. 180 is what Coder's reference architecture plans for 1,000 users
(docs/admin/infrastructure/validated-architectures)."""

USER_PACE: Final = 1.0
"""Requests per second of one user."""

EXIT_WRITE_FAILED: Final = 74
"""Exit code of a load process that could not write its records."""

STOP_S: Final = 3
"""Seconds that SIGTERM leaves to requests in flight. What is open after it stays a start without an end."""

NICE: Final = 5
"""The load yields to the meter: its lateness would be read as the server's."""

_KEPT = ("PATH", "HOME", "LANG", "SSL_CERT_FILE", "SSL_CERT_DIR")


def users_for(size: str) -> int:
    """Users that make the requests per second of `size`."""
    return round(SIZES[size] / USER_PACE)


class LoadProcess(NamedTuple):
    """One Locust process to start: with nothing on its standard input and `cwd` as its folder.

    A foreign `locust.conf` or `pyproject.toml` in the current folder would change its options.
    """

    name: str
    argv: tuple[str, ...]
    env: dict[str, str]
    cwd: Path
    records: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadPlan:
    """The load of one run. `spawn_rate` is in users per second, over all processes.

    `tokens_file` holds one session token per line. `processes` is an upper bound: no process stays without a user.
    """

    file: Path
    host: str
    users: int
    spawn_rate: float
    processes: int
    tokens_file: Path
    records_dir: Path
    seed: int
    pace: float = USER_PACE
    upstream_header: str = "X-Chaos-Upstream"
    bypass_rate_limit: bool = False

    def __post_init__(self) -> None:
        """Refuse what Locust would take and then make no load of."""
        for field in ("users", "spawn_rate", "processes", "pace"):
            if getattr(self, field) <= 0:
                raise UsageError(f"load: {field} must be above 0, not {getattr(self, field)}")

    def children(self, environ: Mapping[str, str] = os.environ) -> tuple[LoadProcess, ...]:
        """Return the processes to start. Of the caller's `environ` only what `_KEPT` names reaches them."""
        count = min(self.processes, self.users)
        bounds = [self.users * k // count for k in range(count + 1)]
        return tuple(self._child(k, bounds[k], bounds[k + 1], environ) for k in range(count))

    def _child(self, index: int, first: int, end: int, environ: Mapping[str, str]) -> LoadProcess:
        users, name = end - first, f"load-{index}"
        records = self.records_dir.resolve() / f"{name}.bin"
        options = {
            "--locustfile": self.file.resolve(),
            "--host": self.host,
            "--users": users,
            "--spawn-rate": self.spawn_rate * users / self.users,
            "--stop-timeout": STOP_S,
            "--exit-code-on-error": 0,  # failed requests are the point; the records say which
        }
        argv = ["nice", "-n", str(NICE), sys.executable, "-m", "locust", "--headless", "--only-summary"]
        for option, value in options.items():
            argv += [option, str(value)]
        env = {key: environ[key] for key in _KEPT if key in environ} | {
            "CHAOS_LOAD_TOKENS": str(self.tokens_file.resolve()),
            "CHAOS_LOAD_RECORDS": str(records),
            "CHAOS_LOAD_SEED": str(self.seed),
            "CHAOS_LOAD_PACE": str(self.pace),
            "CHAOS_LOAD_FIRST_USER": str(first),
            "CHAOS_LOAD_UPSTREAM_HEADER": self.upstream_header,
        }
        if self.bypass_rate_limit:
            env["CHAOS_LOAD_BYPASS"] = "1"
        return LoadProcess(name, tuple(argv), env, self.records_dir.resolve(), records)


class LoadRequest(NamedTuple):
    """One request of the load. Times are monotonic ns; `end` is 0 for a censored one, with outcome `UNKNOWN`.

    `upstream` is the port of the replica that answered, 0 if unknown; `size` the bytes of the decoded body.
    """

    name: str
    start: int
    end: int
    outcome: Outcome
    status: int
    upstream: int
    size: int

    @property
    def censored(self) -> bool:
        """Still open when the load stopped. It took at least until then, and nobody knows how it would have ended."""
        return self.end == 0


class LoadTotals(NamedTuple):
    """Counts over records files. `outcomes` counts ended requests only; `torn` files end in half a record."""

    started: int
    censored: int
    outcomes: Counter[Outcome]
    torn: int


def requests(path: Path) -> Iterator[LoadRequest]:
    """Pair starts and ends of the records file `path`: ended requests as they ended, then the censored as they started.

    Memory holds the requests that are open, never the whole file.
    """
    names = _names(path)
    started: dict[int, LoadMark] = {}
    for mark in read_load(path):
        if mark.name >= len(names):
            raise RunDirError(f"{path}: request name {mark.name} is not in the names file, which has {len(names)}")
        if mark.kind == LOAD_START:
            started[mark.request] = mark
            continue
        start = started.pop(mark.request, None)
        if start is None:
            raise RunDirError(f"{path}: request {mark.request} ends and has not started; the file was altered")
        outcome = Outcome(mark.outcome)
        yield LoadRequest(names[mark.name], start.t, mark.t, outcome, mark.status, mark.upstream, mark.size)
    for mark in started.values():
        yield LoadRequest(names[mark.name], mark.t, 0, Outcome.UNKNOWN, 0, 0, 0)


def totals(paths: Iterable[Path]) -> LoadTotals:
    """Count the requests of several records files."""
    outcomes: Counter[Outcome] = Counter()
    censored = torn = 0
    for path in paths:
        torn += bool(torn_bytes(path, LOAD))
        for request in requests(path):
            if request.censored:
                censored += 1
            else:
                outcomes[request.outcome] += 1
    return LoadTotals(outcomes.total() + censored, censored, outcomes, torn)


def _names(path: Path) -> list[str]:
    file = path.with_name(f"{path.name}.names.json")
    if not file.exists() and path.stat().st_size < LOAD.size:
        return []  # names are written with the first record, so a load that sent nothing has none
    try:
        names: list[str] = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunDirError(f"{path}: its names file {file.name} cannot be read: {error}") from error
    return names
