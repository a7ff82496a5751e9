"""Finds scenarios, faults and objectives: one file each, found by looking, never by a list."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import pkgutil
import sys
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from harness.api import Scenario
from harness.errors import UsageError

if TYPE_CHECKING:
    from types import ModuleType


def data_root() -> Path:
    """Folder that holds `scenarios`, `loadtests` and `compose`: inside the wheel, or the checkout."""
    here = Path(__file__).resolve().parent
    inside = here / "_data"
    return inside if inside.is_dir() else here.parent


def scenarios(extra: Path | None = None) -> dict[str, Scenario]:
    """All scenarios by name: the shipped ones, and those of one more file or folder.

    Raises UsageError naming the file for one that does not import, holds no scenario, or repeats a name.
    """
    found: dict[str, Scenario] = {}
    for path in [*sorted((data_root() / "scenarios").glob("*.py")), *_files(extra)]:
        for scenario in _scenarios_in(path):
            if scenario.name in found and found[scenario.name].source != scenario.source:
                raise UsageError(f"{path}: scenario {scenario.name} exists already in {found[scenario.name].source}")
            found[scenario.name] = scenario
    return found


def scenario(name: str) -> Scenario:
    """One scenario by name, or by a path ending in .py; raise UsageError naming the nearest known one."""
    if name.endswith(".py"):
        path = Path(name)
        if not path.is_file():
            raise UsageError(f"scenario file {name}: no such file")
        inside = _scenarios_in(path)
        if len(inside) != 1:
            names = ", ".join(s.name for s in inside)
            raise UsageError(f"{name}: holds {len(inside)} scenarios ({names}); keep one per file")
        return inside[0]
    known = scenarios()
    if name not in known:
        raise UsageError(f"unknown scenario {name!r}{nearest(name, known)}; known: {', '.join(sorted(known))}")
    return known[name]


def nearest(word: str, known: object) -> str:
    """Return ' (did you mean …?)' when one of `known` (an iterable of words) is close, else ''."""
    close = get_close_matches(word, list(known), n=1)  # type: ignore[call-overload]
    return f" (did you mean {close[0]!r}?)" if close else ""


@cache
def classes(package: str, protocol: str) -> dict[str, type]:
    """All frozen dataclasses of `package` that satisfy `protocol` of its `base` module, by class name."""
    base = getattr(importlib.import_module(f"{package}.base"), protocol)
    found: dict[str, type] = {}
    for info in pkgutil.iter_modules(importlib.import_module(package).__path__):
        module = importlib.import_module(f"{package}.{info.name}")
        for cls in vars(module).values():
            if inspect.isclass(cls) and cls.__module__ == module.__name__ and _fits(cls, base):
                found[cls.__name__] = cls
    return found


def faults() -> dict[str, type]:
    """All faults by class name."""
    return classes("harness.faults", "Fault")


def objectives() -> dict[str, type]:
    """All objectives by class name."""
    return classes("harness.objectives", "Objective")


def _fits(cls: type, base: type) -> bool:
    wanted = [name for name in vars(base) if not name.startswith("_")] + list(getattr(base, "__annotations__", {}))
    return hasattr(cls, "__dataclass_fields__") and all(hasattr(cls, name) for name in wanted)


def _files(extra: Path | None) -> list[Path]:
    if extra is None:
        return []
    if not extra.exists():
        raise UsageError(f"scenarios: {extra}: no such file or folder")
    return sorted(extra.glob("*.py")) if extra.is_dir() else [extra]


def _scenarios_in(path: Path) -> list[Scenario]:
    module = _load(path)
    found = [value for value in vars(module).values() if isinstance(value, Scenario)]
    if not found:
        raise UsageError(f"{path}: holds no scenario; decorate an async function with @scenario")
    return found


def _load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"_scenario_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise UsageError(f"{path}: not a Python file")
    module = importlib.util.module_from_spec(spec)
    # A scenario may keep its own fault or objective in a file beside it.
    sys.path.insert(0, str(path.resolve().parent))
    try:
        spec.loader.exec_module(module)
    except UsageError:
        raise
    except SyntaxError as error:
        raise UsageError(f"{path}:{error.lineno}: does not import: {error.msg}") from error
    except Exception as error:
        line = _line_in(path, error)
        raise UsageError(f"{path}{line}: does not import: {type(error).__name__}: {error}") from error
    finally:
        sys.path.remove(str(path.resolve().parent))
    return module


def _line_in(path: Path, error: BaseException) -> str:
    line, trace = "", error.__traceback__
    while trace is not None:
        if Path(trace.tb_frame.f_code.co_filename) == path.absolute():
            line = f":{trace.tb_lineno}"
        trace = trace.tb_next
    return line
