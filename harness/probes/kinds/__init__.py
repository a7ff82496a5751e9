"""Kinds of sessions: one file each, found by looking. A kind says what is asked for, and what a good message is."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from functools import cache

from harness.probes.kinds.base import Kind


@cache
def kinds() -> dict[str, Kind]:
    """All kinds by name."""
    found: dict[str, Kind] = {}
    for info in pkgutil.iter_modules(__path__):
        module = importlib.import_module(f"{__name__}.{info.name}")
        for cls in vars(module).values():
            if inspect.isclass(cls) and cls.__module__ == module.__name__ and issubclass(cls, Kind) and cls is not Kind:
                found[cls.name] = cls()
    return found
