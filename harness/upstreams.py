"""Which replica answered, as the balancer names it in a header.

Records hold a port, so a replica is known by the port in the balancer's `host:port`. Where replicas share a port, each
on a host of its own, a table gives them ports to be known by.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

HEADER: Final = "X-Chaos-Upstream"
"""Response header in which the balancer names the replica, as host:port (compose/Caddyfile)."""
_MAX_SEEN: Final = 1024
"""There are as many values as replicas; a server that makes them up must not eat the memory."""


def port_of(value: str) -> int:
    """Port of a `host:port` header value, 0 where there is none."""
    port = value.rpartition(":")[2]
    return int(port) if port.isascii() and port.isdigit() and len(port) <= 5 and int(port) <= 0xFFFF else 0


class Upstreams:
    """Reads the header `header`. `ports` gives the port a replica is known by, by its `host:port`, where it has one."""

    __slots__ = ("_seen", "header", "ports", "raw")

    def __init__(self, header: str = HEADER, ports: Mapping[str, int] | None = None) -> None:
        self.header = header
        self.raw = header.lower().encode("latin-1")
        """Name of the header as parsers of bytes compare it: in lower case."""
        self.ports: Mapping[str, int] = dict(ports or {})
        self._seen: dict[str | bytes, int] = {}

    def port(self, value: str | bytes) -> int:
        """Port the replica of a header value is known by, 0 where the value names none."""
        known = self._seen.get(value)
        if known is not None:
            return known
        text = value.decode("latin-1") if isinstance(value, bytes) else value
        port = self.ports[text] if text in self.ports else port_of(text)
        if len(self._seen) < _MAX_SEEN:
            self._seen[value] = port
        return port
