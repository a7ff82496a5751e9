"""Objectives: one file each. `from harness.objectives import BadSeconds` finds the class by looking into the files."""

from __future__ import annotations

from typing import Any


def __getattr__(name: str) -> Any:
    """Find an objective by its class name."""
    from harness.discover import objectives  # noqa: PLC0415 - discovery imports every objective

    if name[:1].isupper() and name in objectives():
        return objectives()[name]
    raise AttributeError(f"module 'harness.objectives' has no objective {name!r}")
