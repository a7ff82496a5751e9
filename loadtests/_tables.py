"""Locust's own tables with three significant digits instead of two.

Locust rounds every response time before it counts it: 147 ms becomes 150, and a p99 of 1,050 ms is printed as 1,100, above
the printed maximum. Here it is rounded down, so that no percentile exceeds the maximum; none is more than 1 % too low.
"""

from __future__ import annotations

from locust import stats

_HOOK = "bucket_response_time"


def three_digits(milliseconds: float) -> float:
    """Round down to three significant digits; below 1 ms to 0.01 ms."""
    if milliseconds < 10:
        return int(milliseconds * 100) / 100
    if milliseconds < 100:
        return int(milliseconds * 10) / 10
    whole, step = int(milliseconds), 1
    while whole >= 1000 * step:
        step *= 10
    return whole - whole % step


def install() -> None:
    """Put it in the place of Locust's own; raises ImportError where a Locust has no such place."""
    if not hasattr(stats, _HOOK) or _HOOK not in stats.StatsEntry._log_response_time.__code__.co_names:  # noqa: SLF001
        raise ImportError(
            f"locust no longer rounds response times with stats.{_HOOK}: its tables would print percentiles above the"
            " maximum. Install the version that coder-chaos pins"
        )
    setattr(stats, _HOOK, three_digits)
