"""What a load process is told from outside, all of it through the environment.

```
CODER_SESSION_TOKEN         one session token for every user; for a run by hand
CHAOS_LOAD_TOKENS           file with one session token per line; user k takes line k mod n. Wins over the above
                            (workers of a distributed run begin at different lines)
CHAOS_LOAD_RECORDS          records file to create; without it nothing is recorded. {worker} stands for the number that
                            Locust's master gave to the worker, {pid} for the process id
CHAOS_LOAD_SEED             whole number; the same seed gives every user the same decisions. Default 0
CHAOS_LOAD_PACE             requests (closed) or arrivals (open) per second and user, on average. Default 1.0
CHAOS_LOAD_IN_FLIGHT        requests that one open-loop user may have in flight. Default 10
CHAOS_LOAD_CONNECT_TIMEOUT  seconds until a dial, and then until a TLS handshake, is given up. Default 5
CHAOS_LOAD_NETWORK_TIMEOUT  seconds until an answer is given up. Default 10
CHAOS_LOAD_FIRST_USER       number of the first user of this process, so that several processes share one numbering
CHAOS_LOAD_UPSTREAM_HEADER  response header in which the balancer names the replica, as HOST:PORT
CHAOS_LOAD_UPSTREAM_PORTS   ports by which replicas are known that share one, as HOST:PORT=PORT with spaces between
CHAOS_LOAD_BYPASS           1 sends `X-Coder-Bypass-Ratelimit`, for users whose token is an owner's
```
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from harness.upstreams import HEADER

if TYPE_CHECKING:
    from collections.abc import Mapping

PER_WORKER: Final = 10_000
"""Users are numbered in blocks of this size, one block per worker of a distributed run."""
GOLDEN: Final = 0.6180339887498949
"""Multiples of it, modulo 1, fill the circle evenly, however many there are."""


class Settings(NamedTuple):
    """The environment of a load process, parsed. Times are seconds, `pace` is per second and user."""

    tokens: tuple[str, ...]
    records: str
    seed: int
    pace: float
    in_flight: int
    connect_timeout: float
    network_timeout: float
    first_user: int
    upstream_header: str
    upstream_ports: Mapping[str, int]
    bypass: bool

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> Settings:
        """Parse `environ`; a `ValueError` or `OSError` names what is wrong with it."""
        return cls(
            tokens=_tokens(environ),
            records=environ.get("CHAOS_LOAD_RECORDS", ""),
            seed=int(_number(environ, "CHAOS_LOAD_SEED", 0)),
            pace=_positive(environ, "CHAOS_LOAD_PACE", 1.0, "requests per second"),
            in_flight=int(_positive(environ, "CHAOS_LOAD_IN_FLIGHT", 10, "requests", least=1)),
            connect_timeout=_positive(environ, "CHAOS_LOAD_CONNECT_TIMEOUT", 5.0, "seconds"),
            network_timeout=_positive(environ, "CHAOS_LOAD_NETWORK_TIMEOUT", 10.0, "seconds"),
            first_user=int(_number(environ, "CHAOS_LOAD_FIRST_USER", 0)),
            upstream_header=environ.get("CHAOS_LOAD_UPSTREAM_HEADER", HEADER),
            upstream_ports=_ports(environ.get("CHAOS_LOAD_UPSTREAM_PORTS", "")),
            bypass=environ.get("CHAOS_LOAD_BYPASS") == "1",
        )

    def headers(self, user: int) -> dict[str, str]:
        """Headers of every request of user number `user`.

        The token travels only in the header: with the session cookie, Coder would ask for a CSRF token on every POST
        (coderd/httpmw/csrf.go).
        """
        worker, nth = divmod(user, PER_WORKER)
        # How many workers there are nobody knows; parts of the golden ratio keep any number of them well apart.
        line = nth + int(len(self.tokens) * (worker * GOLDEN % 1.0))
        return {"Coder-Session-Token": self.tokens[line % len(self.tokens)], "Accept": "application/json"}

    def first_of(self, worker: int | None) -> int:
        """Number of the first user of a process; `worker` is its number in a distributed run, None in no such run."""
        return self.first_user + PER_WORKER * (worker or 0)

    def records_of(self, worker: int | None) -> Path | None:
        """Records file of a process. A `ValueError` says that several processes would share one."""
        if worker is not None and self.records and "{worker}" not in self.records and "{pid}" not in self.records:
            raise ValueError(
                f"CHAOS_LOAD_RECORDS is {self.records!r}, the same file for every worker: put {{worker}} or {{pid}}"
                " into its name"
            )
        path = self.records.replace("{worker}", str(worker or 0)).replace("{pid}", str(os.getpid()))
        return Path(path) if path else None


def _tokens(environ: Mapping[str, str]) -> tuple[str, ...]:
    file = environ.get("CHAOS_LOAD_TOKENS")
    lines = Path(file).read_text(encoding="ascii").split() if file else environ.get("CODER_SESSION_TOKEN", "").split()
    if not lines:
        where = f"{file} is empty" if file else "neither CHAOS_LOAD_TOKENS nor CODER_SESSION_TOKEN is set"
        raise ValueError(f"no session token: {where}; `coder tokens create` makes one")
    return tuple(lines)


def _ports(text: str) -> dict[str, int]:
    ports = {}
    for item in text.split():
        upstream, _, port = item.rpartition("=")
        if not upstream or not port.isdecimal() or not 0 < int(port) < 1 << 16:
            raise ValueError(
                f"CHAOS_LOAD_UPSTREAM_PORTS must be HOST:PORT=PORT with spaces between, {item!r} is something else"
            )
        ports[upstream] = int(port)
    return ports


def _positive(environ: Mapping[str, str], key: str, default: float, unit: str, least: float = 0.0) -> float:
    value = _number(environ, key, default)
    if value <= 0 or value < least:
        raise ValueError(f"{key} must be {f'at least {least:g}' if least else 'above 0'} {unit}, not {value:g}")
    return value


def _number(environ: Mapping[str, str], key: str, default: float) -> float:
    text = environ.get(key, "")
    try:
        return float(text) if text else default
    except ValueError:
        raise ValueError(f"{key} must be a number, not {text!r}") from None
