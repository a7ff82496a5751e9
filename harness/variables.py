"""Variables of compose/ha.yaml that are the caller's: a run hands them to Compose as they are, and they are no settings."""

from __future__ import annotations

from typing import Final

PASSED: Final = frozenset(
    {
        "CHAOS_ACCESS_URL",
        "CHAOS_CADDY_IMAGE",
        "CHAOS_GRACE",
        "CHAOS_HEALTH_REFRESH",
        "CHAOS_POSTGRES_IMAGE",
        "CHAOS_PROVISIONER_DAEMONS",
        "CHAOS_PROVISIONER_TYPES",
        "CHAOS_STUN_ADDRESSES",
        "CHAOS_TELEMETRY",
        "CHAOS_TOXIPROXY_IMAGE",
        "CHAOS_WILDCARD_ACCESS_URL",
        "CODER_IMAGE",
    }
)
