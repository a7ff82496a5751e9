"""`list`: scenarios, faults, objectives and settings, from what the files themselves say."""

from __future__ import annotations

import inspect
from dataclasses import MISSING, fields
from typing import Any

from harness import discover
from harness.faults.base import name_of


def listing(what: str) -> str:
    """Return one line per thing, aligned."""
    tables = {
        "scenarios": _scenarios,
        "faults": _faults,
        "objectives": _objectives,
        "stacks": _stacks,
        "settings": _settings,
    }
    rows = tables[what]()
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]) - 1)]
    return "".join(
        "  ".join([*(c.ljust(w) for c, w in zip(row, widths, strict=False)), row[-1]]) + "\n" for row in rows
    )


def _scenarios() -> list[tuple[str, ...]]:
    found = sorted(discover.scenarios().items())
    return [(s.name, ",".join(sorted(s.tags)), ",".join(s.rules) or "-", s.promise) for _, s in found]


def _faults() -> list[tuple[str, ...]]:
    found: list[Any] = [cls for _, cls in sorted(discover.faults().items())]
    return [(name_of(cls), cls.needs.__name__, cls().shows.text, _first(cls)) for cls in found]


def _objectives() -> list[tuple[str, ...]]:
    return [(name, _params(cls), _first(cls)) for name, cls in sorted(discover.objectives().items())]


def _stacks() -> list[tuple[str, ...]]:
    from importlib import import_module  # noqa: PLC0415

    from harness.showing import stacks  # noqa: PLC0415

    docs = {name: inspect.getdoc(import_module(f"harness.backends.{name}")) or "" for name in stacks()}
    return [(name, doc.splitlines()[0].partition(": ")[2]) for name, doc in docs.items()]


def _settings() -> list[tuple[str, ...]]:
    from harness.config import PREFIX, Settings  # noqa: PLC0415 - pydantic is needed for this list alone

    return [(key, PREFIX + key.upper(), field.description or "") for key, field in Settings.model_fields.items()]


def _first(cls: type) -> str:
    module = inspect.getmodule(cls)
    return ((module and module.__doc__) or cls.__doc__ or "").strip().splitlines()[0]


def _params(cls: Any) -> str:
    shown = [f.name if f.default is MISSING else f"{f.name}={f.default}" for f in fields(cls)]
    return ", ".join(shown) or "-"
