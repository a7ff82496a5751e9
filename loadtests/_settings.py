"""What a load process is told from outside, all of it through the environment.

```
CODER_SESSION_TOKEN         one session token for every user; for a run by hand
CHAOS_LOAD_TOKENS           file with one session token per line; user k takes line k mod n. Wins over the above
CHAOS_LOAD_RECORDS          records file to create; without it nothing is recorded
CHAOS_LOAD_SEED             whole number; the same seed gives every user the same decisions. Default 0
CHAOS_LOAD_PACE             requests per second and user, on average. Default 1.0
CHAOS_LOAD_FIRST_USER       number of the first user of this process, so that several processes share one numbering
CHAOS_LOAD_UPSTREAM_HEADER  response header in which the balancer names the replica, as HOST:PORT
CHAOS_LOAD_BYPASS           1 sends `X-Coder-Bypass-Ratelimit`; only for tokens of an owner, others get 428 for it
```
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping


class Settings(NamedTuple):
    """The environment of a load process, parsed. `pace` is in requests per second and user."""

    tokens: tuple[str, ...]
    records: Path | None
    seed: int
    pace: float
    first_user: int
    upstream_header: str
    bypass: bool

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> Settings:
        """Parse `environ`; a `ValueError` or `OSError` names what is wrong with it."""
        records = environ.get("CHAOS_LOAD_RECORDS")
        pace = _number(environ, "CHAOS_LOAD_PACE", 1.0)
        if pace <= 0:
            raise ValueError(f"CHAOS_LOAD_PACE must be above 0 requests per second, not {pace}")
        return cls(
            tokens=_tokens(environ),
            records=Path(records) if records else None,
            seed=int(_number(environ, "CHAOS_LOAD_SEED", 0)),
            pace=pace,
            first_user=int(_number(environ, "CHAOS_LOAD_FIRST_USER", 0)),
            upstream_header=environ.get("CHAOS_LOAD_UPSTREAM_HEADER", "X-Chaos-Upstream"),
            bypass=environ.get("CHAOS_LOAD_BYPASS") == "1",
        )

    def headers(self, user: int) -> dict[str, str]:
        """Headers of every request of user number `user`.

        The token travels only in the header: with the session cookie, Coder would ask for a CSRF token on every POST
        (coderd/httpmw/csrf.go).
        """
        headers = {"Coder-Session-Token": self.tokens[user % len(self.tokens)], "Accept": "application/json"}
        if self.bypass:
            headers["X-Coder-Bypass-Ratelimit"] = "true"
        return headers


def _tokens(environ: Mapping[str, str]) -> tuple[str, ...]:
    file = environ.get("CHAOS_LOAD_TOKENS")
    lines = Path(file).read_text(encoding="ascii").split() if file else environ.get("CODER_SESSION_TOKEN", "").split()
    if not lines:
        where = f"{file} is empty" if file else "neither CHAOS_LOAD_TOKENS nor CODER_SESSION_TOKEN is set"
        raise ValueError(f"no session token: {where}; `coder tokens create` makes one")
    return tuple(lines)


def _number(environ: Mapping[str, str], key: str, default: float) -> float:
    text = environ.get(key, "")
    try:
        return float(text) if text else default
    except ValueError:
        raise ValueError(f"{key} must be a number, not {text!r}") from None
