"""What the meter watches in a run: probe lanes to every address, and sessions of every population."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.stack import LaneSpec, WatcherSpec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.config import Settings
    from harness.stack import Stack

QUIET = 3
"""Workspaces that are watched and never written: there only a snapshot can bring a session back, never a lucky event."""

_BYPASS = {"X-Coder-Bypass-Ratelimit": "true"}
"""Owners may ask to be let through (coderd/httpmw/ratelimit.go): a herd of our own is not what is under test."""
_ASKS = {
    # Kind: path, a text that only Coder's own answer holds, whether it needs a token (an owner's).
    "fresh": ("/api/v2/buildinfo", '"version"', False),
    "pinned": ("/api/v2/buildinfo", '"version"', False),
    "db": ("/api/v2/users/me", '"username"', True),
    "ws": ("/api/v2/debug/ws", None, True),
}
_RATES = {
    # Kind: slots per second through the balancer, and to a replica's own address.
    "fresh": (50.0, 20.0),
    "pinned": (20.0, 10.0),
    "db": (50.0, 10.0),
    "ws": (10.0, 5.0),
}


def lanes(stack: Stack, token: str) -> list[LaneSpec]:
    """Lanes of each kind to the balancer and to every replica, the balancer's first."""
    made: list[LaneSpec] = []
    fronts = [t for t in stack.targets if t.role == "balancer"]
    for target in [*fronts, *(t for t in stack.targets if t.role == "coder")]:
        for kind, (path, expect, keyed) in _ASKS.items():
            rate = _RATES[kind][target.role != "balancer"]
            key = token if keyed else None
            made.append(LaneSpec(len(made), target.name, target.role, kind, path, rate, key, expect))
    return made


def sessions(settings: Settings, workspaces: Sequence[str], token: str) -> list[WatcherSpec]:
    """Eager watchers first, then the other populations; ids are `kind-number`, or `kind.policy-number` for the others."""
    made = [
        WatcherSpec(f"watch-{i:02}", _watched(workspaces, i), token, headers=_BYPASS) for i in range(settings.watchers)
    ]
    for population, count in sorted(settings.sessions.items()):
        kind, _, policy = population.partition(".")
        for number in range(count):
            workspace = _watched(workspaces, number) if kind == "watch" else ""
            made.append(WatcherSpec(f"{population}-{number:02}", workspace, token, policy, kind, _BYPASS))
    return made


def _watched(workspaces: Sequence[str], number: int) -> str:
    """Workspace of a watcher: every other one watches a quiet workspace, the rest those that are written."""
    written, quiet = workspaces[:-QUIET], workspaces[-QUIET:]
    group = quiet if number % 2 else written
    return group[number // 2 % len(group)]
