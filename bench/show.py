"""How every benchmark prints: one line of median, extremes, count and goal, per figure."""

from __future__ import annotations

import statistics
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


def show(name: str, values: list[float], unit: str, goal: str) -> None:
    """Print one figure with its goal; a goal that is missed is printed, never raised."""
    low, mid, high = min(values), statistics.median(values), max(values)
    print(
        f"{name:<44} median {mid:8.3f} {unit:<3} (min {low:.3f}, max {high:.3f}, n={len(values)})   goal {goal}",
        flush=True,
    )


def timed(work: Callable[[], object]) -> float:
    """Seconds that `work` takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began
