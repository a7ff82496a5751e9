"""Ports for a stack: below the kernel's ephemeral range, so that no outgoing connection takes a dead replica's port."""

from __future__ import annotations

import socket
from random import SystemRandom

from harness.errors import NotReady


def free_ports(count: int, within: range, host: str = "127.0.0.1") -> list[int]:
    """`count` ports nobody listens on, drawn from `within`; raise NotReady naming the range when there are too few."""
    candidates = list(within)
    SystemRandom().shuffle(candidates)
    found: list[int] = []
    for port in candidates:
        if len(found) == count:
            break
        with socket.socket() as probe:
            try:
                probe.bind((host, port))
            except OSError:
                continue
        found.append(port)
    if len(found) < count:
        raise NotReady(
            f"no free port: {len(found)} of the {count} needed are free in {within.start}-{within.stop - 1} "
            f"on {host}; widen it with CHAOS_PORTS=low-high"
        )
    return found
