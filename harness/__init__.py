"""coder-chaos: chaos and failover tests for Coder deployments.

The names below are what a scenario, a fault or an objective needs. They are imported on first use, so that
`import harness` costs nothing to the command line and to the keeper process.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

__version__ = "0.1.0"

_PUBLIC = {
    "Red": "harness.api",
    "Run": "harness.api",
    "Scenario": "harness.api",
    "scenario": "harness.api",
    "all_but_one": "harness.targets",
    "each": "harness.targets",
    "one": "harness.targets",
    "rolling": "harness.targets",
}


__all__ = ["Red", "Run", "Scenario", "__version__", "all_but_one", "each", "one", "rolling", "scenario"]

if TYPE_CHECKING:
    from harness.api import Red, Run, Scenario, scenario
    from harness.targets import all_but_one, each, one, rolling


def __getattr__(name: str) -> object:
    """Import a public name on first use."""
    if name in _PUBLIC:
        return getattr(import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'harness' has no attribute {name!r}")
