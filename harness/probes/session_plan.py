"""The sessions of a meter's plan. What many sessions share is one object: thousands of them differ in id and path."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from harness.probes.kinds import kinds
from harness.probes.plan_keys import VISIBLE, Keys, PlanError
from harness.probes.policies import EAGER, POLICIES
from harness.probes.tls import tls_plan

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.probes.policies import Policy
    from harness.probes.tls import TlsPlan

_MAX_BEAT_MS: Final = 9000
"""Coder ends an echo socket after 10 s without a message."""


@dataclass(frozen=True, slots=True)
class SessionGroup:
    """Everything but id and path of sessions that are alike. Times in milliseconds."""

    kind: str
    policy: Policy
    host: str
    port: int
    headers: tuple[tuple[str, str], ...]
    tls: TlsPlan | None
    dial_timeout_ms: float
    ping_every_ms: float
    ping_timeout_ms: float
    beat_ms: float


@dataclass(frozen=True, slots=True)
class SessionPlan:
    """One long-lived session."""

    id: str
    path: str
    group: SessionGroup


@dataclass(frozen=True, slots=True)
class HerdPlan:
    """How the first dials are paced: one every `step_ms`, with at most `at_once` of them unanswered.

    Only the first: how often a client comes back is its policy's, and what that does to a server is the point.
    `seed` decides every jitter.
    """

    step_ms: float
    at_once: int
    seed: int


def parse_sessions(items: Sequence[object]) -> tuple[SessionPlan, ...]:
    """Read the list of sessions. Raises PlanError naming the item and the key."""
    known: dict[SessionGroup, SessionGroup] = {}
    paths: dict[str, str] = {}
    plans = []
    for at, raw in enumerate(items):
        keys = Keys(raw, f"watchers[{at}]")
        name, path, group = keys.text("id"), keys.path("path"), _group(keys, f"watchers[{at}]")
        keys.done()
        plans.append(SessionPlan(name, paths.setdefault(path, path), known.setdefault(group, group)))
    return tuple(plans)


def parse_herd(keys: Keys) -> HerdPlan:
    """Read how the herd is paced, out of the keys of the plan itself."""
    return HerdPlan(
        step_ms=keys.number("herd_step_ms", 0.1, 10_000, 5),
        at_once=keys.whole("herd_at_once", 1, 100_000, 100),
        seed=keys.whole("seed", 0, 2**63, 0),
    )


def _group(keys: Keys, where: str) -> SessionGroup:
    policy = POLICIES[keys.choice("policy", tuple(POLICIES), EAGER)]
    redial_s = keys.number("redial_ms", 1, 60_000, policy.first_s * 1000 if policy.redials else 1000) / 1000
    if policy.name == EAGER:
        policy = replace(policy, first_s=redial_s)
    elif keys.seen("redial_ms") != "null":
        raise PlanError(f"{where}: redial_ms is for policy {EAGER}, the pauses of {policy.name} are its own")
    return SessionGroup(
        kind=keys.choice("kind", tuple(sorted(kinds())), "watch"),
        policy=policy,
        host=keys.text("host", pattern=VISIBLE),
        port=keys.whole("port", 1, 0xFFFF),
        headers=tuple(keys.headers("headers").items()),
        tls=tls_plan(keys),
        dial_timeout_ms=keys.number("dial_timeout_ms", 1, 60_000, 2000),
        ping_every_ms=keys.number("ping_every_ms", 10, 60_000, 1000),
        ping_timeout_ms=keys.number("ping_timeout_ms", 10, 60_000, 2000),
        beat_ms=keys.number("beat_ms", 10, _MAX_BEAT_MS, 1000),
    )
