"""Faults: one file each. `from harness.faults import Kill` finds the class by looking into the files."""

from __future__ import annotations

from typing import Any


def __getattr__(name: str) -> Any:
    """Find a fault by its class name."""
    from harness.discover import faults  # noqa: PLC0415 - discovery imports every fault, only when one is asked for

    if name[:1].isupper() and name in faults():
        return faults()[name]
    raise AttributeError(f"module 'harness.faults' has no fault {name!r}")
