"""Was our own side fit to measure? Load, credentials, limits we ran into, lateness, stalls. Pure.

None of this is ever the deployment's failure: a run whose meter or load was unfit is INCONCLUSIVE, with the reason.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from harness import events as ev
from harness.records import LOAD_END, LOAD_START, Outcome, read_load
from harness.series import SECOND, Interval, Series, quantile
from harness.verdict import Gate

if TYPE_CHECKING:
    from harness.timeline import RunView

LATENESS_P99_MS = 100
"""Above this the meter sends too late to date anything near the objectives' limits (seconds)."""
STALL_S = 0.5
UNKNOWN_SHARE = 0.02
STOLEN = 0.05
PRESSED = 0.85
"""Share of the window in which some task of the machine waited for a processor (/proc/pressure/cpu). A local stack
alone on two cores comes to 39 %. Beside other work, runs at 62 and 79 % were unhurt, one at 92 % failed for want of
processors, and such as could not get steady had 97 %."""
LOAD_SHARE = 0.5
"""The load must reach this share of the rate it was asked for in the baseline; a stack at rest proves nothing."""
LIMITED_SHARE = 0.01
"""More answers 429 than this, and what was measured is the deployment's limit on us."""


def fitness(run: RunView) -> list[Gate]:
    """Gates about load and meter, in the order in which they explain each other."""
    marks = _marks(run)
    return [_load(run, marks), _limits(run, marks), _credentials(run), _ledger(run), *_records(run), *_meter(run)]


class _Marks(NamedTuple):
    """The load in figures: requests begun in the baseline, and how all of them ended."""

    baseline: int
    outcomes: Counter[int]


def _marks(run: RunView) -> _Marks:
    started, window = run.last(ev.LoadStarted), run.phase("baseline") or Interval(0, 0)
    baseline, outcomes = 0, Counter[int]()
    for path in [run.directory / name for name in (started.files if started else [])]:
        for mark in read_load(path) if path.is_file() else ():
            if mark.kind == LOAD_END:
                outcomes[mark.outcome] += 1
            elif mark.kind == LOAD_START and window.lo <= mark.t < window.hi:
                baseline += 1
    return _Marks(baseline, outcomes)


def _load(run: RunView, marks: _Marks) -> Gate:
    started, window = run.last(ev.LoadStarted), run.phase("baseline")
    if started is None or window is None:
        return Gate("load", ok=False, said="never ran")
    rate = marks.baseline / max(1e-9, (window.hi - window.lo) / SECOND)
    said = f"{rate:.1f} requests/s in the baseline, asked for {started.rate:g}"
    return Gate("load", rate >= LOAD_SHARE * started.rate, said)


def _limits(run: RunView, marks: _Marks) -> Gate:
    """A storm of 429 says that we ask too much of one key and path, not that users are hurt."""
    probes = Counter(outcome for series in run.series() for outcome in series.outcome)
    rows = []
    for who, counts in (("probe", probes), ("load", marks.outcomes)):
        limited, all_ = counts[Outcome.RATE_LIMITED], counts.total()
        if limited > LIMITED_SHARE * all_:
            rows.append(f"{limited} of {all_} {who} answers were 429")
    fix = "lift CODER_API_RATE_LIMIT, or use an owner's token with the bypass header"
    return Gate("rate limits", not rows, f"{', '.join(rows)}: {fix}" if rows else "none was met")


def _credentials(run: RunView) -> Gate:
    """A 401 that never heals is a token that expired or was revoked: then the lane measured our own key."""
    for series in run.series():
        since = _refused_to_the_end(series)
        if since is not None:
            at = (since - run.header.t_ns) / SECOND
            said = f"the {series.lane.kind} lane of {series.lane.target} had only 401 from {at:.1f} s to its end"
            return Gate("credentials", ok=False, said=f"{said}: its token expired or was revoked")
    return Gate("credentials", ok=True, said="no token was refused to the end")


def _refused_to_the_end(series: Series) -> int | None:
    """Due time of the first of the 401s with which the lane ends, None when they are less than a second's."""
    since, count = 0, 0
    for i in range(len(series.outcome) - 1, -1, -1):
        if series.outcome[i] == Outcome.UNAUTHORIZED:
            since, count = series.intended[i], count + 1
        elif series.bad(i) or series.outcome[i] == Outcome.OK:
            break
    return since if count >= series.lane.rate_hz else None


def _ledger(run: RunView) -> Gate:
    """Once a second the meter counts the sockets it holds; the rows of the ledger must come to the same."""
    wrong, count = run.sessions.disagreement, run.sessions.checkpoints
    said = f"{count} checkpoints, opens - closes = live at every one" if count else "no session was counted"
    return Gate("session ledger", wrong is None, wrong or said, meter=True)


def _records(run: RunView) -> list[Gate]:
    """What was due, what the meter counted and what its file holds must be the same, for each lane and outcome.

    Three places that know nothing of each other: the schedule, the counters and the records. A class of answers that is
    lost on the way would be the service's gain. A meter that does not say that it counts is of a time before it did.
    """
    rows, tally = run.vitals, run.tally
    if tally is None and not any(row.get("counted") for row in rows):
        return []
    due = sum(row.get("sent", 0) + row.get("unknown", 0) for row in rows)
    count = run.outcomes.total()
    said = f"{count} of {due} due slots are recorded, as the meter counted them"
    wrong = _miscount(tally, run.outcomes)
    if wrong is None and count != due:
        wrong = f"{due} slots were due, {count} are recorded"
    return [Gate("records", wrong is None, wrong or said)]


def _miscount(tally: dict[int, list[int]] | None, found: Counter[tuple[int, int]]) -> str | None:
    if tally is None:
        return "the meter left no count of its records"
    counted = Counter({(lane, outcome): n for lane, row in tally.items() for outcome, n in enumerate(row) if n})
    for lane, outcome in sorted(counted.keys() | found.keys()):
        ours, theirs = found[lane, outcome], counted[lane, outcome]
        if ours != theirs:
            word = Outcome(outcome).name.lower().replace("_", " ")
            return f"lane {lane}: the meter counted {theirs} that were {word}, its records say {ours}"
    return None


def _meter(run: RunView) -> list[Gate]:
    window = run.window
    if window is None:
        return []
    lateness: list[int] = []
    unknown = due = 0
    for series in run.series():
        _, missing, all_ = series.count_bad(window)
        unknown, due = unknown + missing, due + all_
        # A slot of a kept connection waits for it: that is the server's lateness.
        if series.lane.kind in ("fresh", "db"):
            lateness += [series.lateness[i] for i in series.range(window)]
    worst = max((stall.hi - stall.lo for stall in _within(run.stalls, window)), default=0) / SECOND
    p99 = quantile(sorted(lateness), 0.99) / 1e6 if lateness else 0.0
    share = unknown / due if due else 1.0
    return [
        Gate("meter lateness", p99 <= LATENESS_P99_MS, f"p99 {p99:.1f} ms, limit {LATENESS_P99_MS} ms", meter=True),
        Gate("meter stalls", worst < STALL_S, f"longest {worst:.2f} s, limit {STALL_S} s", meter=True),
        _machine(run, window),
        Gate(
            "meter slots",
            share <= UNKNOWN_SHARE,
            f"{unknown} of {due} due slots unknown, limit {UNKNOWN_SHARE:.0%}",
            meter=True,
        ),
    ]


def _machine(run: RunView, window: Interval) -> Gate:
    """A machine that is denied its processors, or has none free, slows the deployment and us alike."""
    cores = next((row["cores"] for row in run.vitals if row.get("cores")), 1)
    rows = [row for row in run.vitals if "steal_s" in row and window.lo <= row.get("t_ns", 0) < window.hi]
    seconds = max(1e-9, (window.hi - window.lo) / SECOND)
    stolen = sum(row["steal_s"] or 0 for row in rows) / seconds / cores
    pressed = sum(row.get("psi_cpu_s") or 0 for row in rows) / seconds
    said = (
        f"{stolen:.1%} of its processors' time stolen, limit {STOLEN:.0%}; some task waited {pressed:.0%} of the time"
    )
    ok = stolen <= STOLEN and pressed <= PRESSED
    return Gate("machine", ok, f"{said}, limit {PRESSED:.0%}", meter=True)


def _within(stalls: list[Interval], window: Interval) -> list[Interval]:
    return [s for s in stalls if s.hi > window.lo and s.lo < window.hi]
