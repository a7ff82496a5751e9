"""Time to detect and the four recoveries, as brackets from the onset. Never mixed, never averaged. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.records import Outcome
from harness.series import Interval, first_index

if TYPE_CHECKING:
    from harness.timeline import RunView


@dataclass(frozen=True)
class Span:
    """Time from the onset: [lo, hi] in ns, `censored` when it did not happen before the window closed (then > lo)."""

    lo: int
    hi: int
    censored: bool = False
    cause: str = ""

    def __str__(self) -> str:
        """Seconds with bounds, or `> T s`."""
        if self.censored:
            return f"> {self.lo / 1e9:.2f} s"
        return f"[{self.lo / 1e9:.2f}, {self.hi / 1e9:.2f}] s{self.cause}"


def seen(run: RunView, span: Span) -> bool:
    """Whether a span that is given as exact ends with something that was recorded: a good answer, or a session's return.

    One that is only known to be longer ends with the observation, at which nothing happened.
    """
    onset = run.fault and run.fault.onset
    if not onset or span.censored:
        return False
    moment = onset.lo + span.hi
    if span.hi == 0:
        return span.lo == 0  # nothing was hurt
    if span.lo > span.hi:
        return False
    if any(s.outcome[i] == Outcome.OK and s.done(i) == moment for s in run.front for i in range(len(s.slot))):
        return True
    populations = run.sessions.populations.values()
    return any(drop.back == moment for population in populations for drop in population.drops)


def detected(run: RunView) -> Span | None:
    """From the onset to the first bad slot through the balancer."""
    window, onset = run.window, run.fault and run.fault.onset
    if window is None or not onset:
        return None
    found = [
        (s.intended[i], s.intended[i] + s.latency[i])
        for s in run.front
        if (i := first_index(s, onset.lo, good=False)) is not None
    ]
    if not found:
        return Span(window.hi - onset.hi, 0, censored=True)
    due, end = min(found)
    return Span(max(0, due - onset.hi), end - onset.lo)


def first_good(run: RunView) -> Span | None:
    """From the onset to the first good slot after the first bad one, on the slower of the balancer's lanes."""
    window, onset = run.window, run.fault and run.fault.onset
    if window is None or not onset:
        return None
    spans = []
    for s in run.front:
        bad = first_index(s, onset.lo, good=False)
        if bad is None:
            continue
        good = first_index(s, s.intended[bad], good=True)
        if good is None or s.intended[good] >= window.hi:
            return Span(window.hi - onset.hi, 0, censored=True)
        spans.append(Span(s.intended[good - 1] - onset.hi, s.intended[good] + s.latency[good] - onset.lo))
    return max(spans, key=lambda span: span.hi, default=Span(0, 0))


def stable(run: RunView) -> Span | None:
    """From the onset to the start of the first stable stretch of both lanes."""
    window, onset, fold = run.window, run.fault and run.fault.onset, run.stable
    if window is None or not onset or fold is None:
        return None
    if fold.at is None:
        return Span(window.hi - onset.hi, 0, censored=True)
    return Span(max(0, fold.at.lo - onset.hi), fold.at.hi - onset.lo, cause=_cause(run, fold.at.hi))


def full_capacity(run: RunView) -> Span | None:
    """From the onset to the moment every replica has answered through the balancer again."""
    window, onset = run.window, run.fault and run.fault.onset
    if window is None or not onset or run.fault is None:
        return None
    since = run.fault.undone.before_ns if run.fault.undone else window.lo
    latest: Interval | None = None
    for target in run.targets("coder"):
        port, hurt = run.port_of(target["name"]), target["name"] in run.fault.prepared.targets
        moments = [
            Interval(s.intended[i], s.intended[i] + s.latency[i])
            for s in run.front
            for i in s.range(Interval(since if hurt else onset.hi, run.end_ns))
            if s.outcome[i] == Outcome.OK and s.upstream[i] == port
        ]
        if not moments:
            return Span(window.hi - onset.hi, 0, censored=True)
        first = min(moments)
        latest = first if latest is None or first > latest else latest
    return Span(latest.lo - onset.hi, latest.hi - onset.lo, cause=_cause(run, latest.hi)) if latest else None


def sessions_back(run: RunView) -> Span | None:
    """From the onset to the first good message of the last session that dropped in the window.

    Of eager clients only: another one's patience is no property of the deployment.
    """
    window, onset = run.window, run.fault and run.fault.onset
    if window is None or not onset:
        return None
    eager = [p for name, p in run.sessions.populations.items() if name.endswith(".eager")]
    drops = [d for population in eager for d in population.dropped(window)]
    if any(d.back is None for d in drops):
        return Span(window.hi - onset.hi, 0, censored=True)
    ends = [d.back for d in drops if d.back is not None]
    return Span(max(ends) - onset.hi, max(ends) - onset.lo) if ends else Span(0, 0)


def _cause(run: RunView, moment: int) -> str:
    undone = run.fault.undone if run.fault else None
    return " (under the fault)" if undone is None or moment <= undone.before_ns else " (after the undo)"


RECOVERIES = {
    "first": first_good,
    "stable": stable,
    "capacity": full_capacity,
    "sessions": sessions_back,
}
