"""Load: how the Locust child processes are started.

Locust patches the process that imports it, so it runs in children only; this module names it on their command line,
and `loadlog` reads their records back.
A simulated user makes one request per second on average, in every file of `loadtests/`, so users and requests per
second are the same number.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

from harness.errors import UsageError
from harness.upstreams import HEADER

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

SIZES: Final = {"dev": 20, "nightly": 60, "gameday": 180, "gameday-2000": 300, "gameday-3000": 550}
"""Requests per second of each size. 180, 300 and 550 are what Coder's validated architectures plan for 1,000, 2,000 and
3,000 users (docs/admin/infrastructure/validated-architectures)."""

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
    upstream_header: str = HEADER
    upstream_ports: Mapping[str, int] = field(default_factory=dict)
    """Port a replica is known by, by the `host:port` in that header, where it is not that port itself."""
    bypass_rate_limit: bool = False
    connect_timeout_s: float = 5.0
    network_timeout_s: float = 10.0

    def __post_init__(self) -> None:
        """Refuse what Locust would take and then make no load of."""
        for name in ("users", "spawn_rate", "processes", "pace", "connect_timeout_s", "network_timeout_s"):
            if getattr(self, name) <= 0:
                raise UsageError(f"load: {name} must be above 0, not {getattr(self, name)}")

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
            "CHAOS_LOAD_CONNECT_TIMEOUT": str(self.connect_timeout_s),
            "CHAOS_LOAD_NETWORK_TIMEOUT": str(self.network_timeout_s),
            "CHAOS_LOAD_UPSTREAM_HEADER": self.upstream_header,
            "CHAOS_LOAD_UPSTREAM_PORTS": " ".join(f"{at}={port}" for at, port in self.upstream_ports.items()),
        }
        if self.bypass_rate_limit:
            env["CHAOS_LOAD_BYPASS"] = "1"
        return LoadProcess(name, tuple(argv), env, self.records_dir.resolve(), records)
