"""Every duration the promises rely on, once, with its source; and formulas over them.

A formula is resolved against an `Env`: the time scale of the stack, the number of replicas and the balancer's profile.
`server(15)` is time on Coder's side and scales with the stack; `wall(2)` (balancer, clients, people) never does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True)
class Balancer:
    """Health checking of the balancer: seconds between checks, seconds a check may take, failures to eject."""

    name: str
    interval_s: float
    timeout_s: float
    failures: int


TUNED = Balancer("tuned", interval_s=2.0, timeout_s=1.0, failures=2)
"""Our Caddy: explicit active checks, see compose/Caddyfile."""

K8S_DEFAULT = Balancer("k8s-default", interval_s=10.0, timeout_s=1.0, failures=3)
"""A Kubernetes Service with the chart's readiness probe left at its defaults: helm/coder, period 10 s, timeout 1 s, 3
failures."""

BALANCERS = {balancer.name: balancer for balancer in (TUNED, K8S_DEFAULT)}
"""Profiles by name. The expected ejection follows from the profile, and with it every verdict."""


@dataclass(frozen=True)
class Env:
    """What a formula is resolved against."""

    scale: float = 1.0
    replicas: int = 3
    balancer: Balancer = TUNED


@dataclass(frozen=True)
class Formula:
    """A number of seconds that depends on the stack. `text` is what a person reads beside the value."""

    text: str
    of: Callable[[Env], float]
    compound: bool = False

    def __add__(self, other: Formula | float) -> Formula:
        """Sum; a plain number is wall seconds."""
        return _join(self, "+", other, lambda a, b: a + b)

    def __mul__(self, other: Formula | float) -> Formula:
        """Product."""
        return _join(self, "x", other, lambda a, b: a * b)

    def __truediv__(self, other: Formula | float) -> Formula:
        """Quotient."""
        return _join(self, "/", other, lambda a, b: a / b)


def server(seconds: float, name: str | None = None) -> Formula:
    """Time that Coder keeps itself: scales with the stack's time scale."""
    return Formula(name or f"server({seconds:g} s)", lambda env: seconds * env.scale)


def wall(seconds: float, name: str | None = None) -> Formula:
    """Time of balancers, clients and people: never scales."""
    return Formula(name or f"{seconds:g} s", lambda _: seconds)


def resolve(value: Formula | float, env: Env) -> float:
    """Seconds of a formula, or the number itself."""
    return value.of(env) if isinstance(value, Formula) else float(value)


def text_of(value: Formula | float) -> str:
    """How a person reads the formula; a plain number is seconds."""
    return value.text if isinstance(value, Formula) else f"{value:g} s"


def _join(left: Formula, sign: str, right: Formula | float, do: Callable[[float, float], float]) -> Formula:
    tight = sign in "x/"

    def bracket(part: Formula | float) -> str:
        if not isinstance(part, Formula):
            return f"{part:g} s" if sign == "+" else f"{part:g}"
        return f"({part.text})" if tight and part.compound else part.text

    text = f"{bracket(left)}{sign}{bracket(right)}" if sign == "/" else f"{bracket(left)} {sign} {bracket(right)}"
    return Formula(text, lambda env: do(left.of(env), resolve(right, env)), compound=sign == "+")


N = Formula("N", lambda env: float(env.replicas))
"""The number of replicas."""

ejection = Formula("ejection", lambda env: env.balancer.interval_s * env.balancer.failures + env.balancer.timeout_s)
"""Longest time a balancer needs to take a dead replica out: interval x failures + timeout. 5 s with the tuned profile."""

redial = wall(2.0, "redial")
"""What an eager client (re-dials every 50 ms) may need on top of the balancer: dial, upgrade, first snapshot."""

idle_exit = wall(8.0, "8 s")
"""A replica that is asked to leave gives requests 3 s, closes its sockets and is gone: cli/server.go. A running build may
take longer."""

start = wall(30.0, "start")
"""A replica that starts tries its database for this long and then gives up: cli/server.go ConnectToPostgres. One that has
nothing to migrate is ready before."""

health_interval = Formula("health interval", lambda env: env.balancer.interval_s)
"""Longest time until a balancer that sees a refused connection at its next check begins to count it."""

replica_heartbeat = server(5, "heartbeat")
"""A replica refreshes its row this often: enterprise/replicasync/replicasync.go."""

replica_gone = server(15, "3 x heartbeat")
"""A peer is gone when its row is older than three intervals: enterprise/replicasync/replicasync.go."""

membership_earliest = server(9, "2 x heartbeat - 1")
"""A killed replica beat at most one interval before its death; that beat may itself be late, by the time that writing it
takes at a busy database, for which a second is allowed. Without it a kill right before a beat is no clear case."""

database_far = wall(0.015, "15 ms")
"""Where the health report begins to warn: EDB02, from this median of five pings on. CODER_HEALTH_CHECK_THRESHOLD_DATABASE,
15 ms unless set (coderd/healthcheck/database.go)."""

report_answer = wall(35.0, "35 s")
"""A forced health report may take this long: Coder gives itself 30 s (coderd/coderd.go), and 5 s are for the way."""

api_p95 = wall(0.3, "300 ms")
"""Workspace and template queries should answer within 300 ms: docs/admin/infrastructure/scale-testing.md."""
