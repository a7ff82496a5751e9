"""When an outage of one lane began and ended, from what its answers prove. Pure.

```
a good answer           the service was up at some moment between its send and its end
a failure it was told   the service was down at some moment between its send and its end
no answer in time       the service was down at some moment between its send and its send + usual: had it been up until
                        then, it would have answered. Nothing, if that is after the deadline or it was never sent.
```
*Usual* is the slowest of the last `_USUAL` good answers before the outage. So the begin lies after the send of the last
good slot and before the first proof of down, the end after the last proof of down and before the first answer.

A frozen service that thaws answers all who wait at once, some before and some after their deadline, so the last bad slot
can be older than the end by the deadline. Where answers came back at once, the end is their moment.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from harness.records import Outcome

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.series import Series

_USUAL: Final = 50
"""So many good answers say what is usual. More would reach back into the slow ones after an outage before this one."""

_SILENT: Final = frozenset({Outcome.CONNECT_TIMEOUT, Outcome.READ_TIMEOUT, Outcome.TLS_TIMEOUT})


def edges(series: Series, before: int, run: Sequence[int], after: int) -> tuple[int, int, int, int]:
    """Bounds in ns of the begin and the end of an outage: (begin.lo, begin.hi, end.lo, end.hi), -1 where unbounded.

    `run` are the indices of its bad slots, `before` and `after` of the good ones around it, -1 where there is none.
    """
    usual = _usual(series, run[0])
    proofs = [proof for i in run if (proof := _down(series, i, usual)) is not None]
    begin_lo = series.sent(before) if before >= 0 else -1
    end_lo = max((lo for lo, _ in proofs), default=begin_lo)
    end_hi = _first_answer(series, after) if after >= 0 else -1
    begin_hi = min((hi for _, hi in proofs), default=end_hi)
    if after >= 0 and series.outcome[run[-1]] in _SILENT and usual is not None:
        thaw_lo, thaw_hi = _thaw(series, run, after, end_hi, usual)
        if thaw_hi >= end_lo:
            end_lo, end_hi = max(end_lo, thaw_lo), thaw_hi
    return begin_lo, begin_hi, end_lo, end_hi


def _usual(series: Series, i: int) -> int | None:
    """Slowest of the good answers before slot `i`, from their sends, in ns; None without any."""
    took: list[int] = []
    while i > 0 and len(took) < _USUAL:
        i -= 1
        if series.outcome[i] == Outcome.OK:
            took.append(series.done(i) - series.sent(i))
    return max(took, default=None)


def _down(series: Series, i: int, usual: int | None) -> tuple[int, int] | None:
    """Bounds of a moment at which slot `i` proves that the service was down, None if it proves nothing."""
    if not series.bad(i) or not series.was_sent(i):
        return None
    sent, done = series.sent(i), series.done(i)
    if series.outcome[i] not in _SILENT or usual is None:
        return sent, done
    return (sent, sent + usual) if sent + usual <= done else None


def _first_answer(series: Series, i: int) -> int:
    """Moment of the first good answer to the slots due from slot `i` on: it need not be the answer to the oldest."""
    first = series.done(i)
    while i < len(series.slot) and series.intended[i] < first:
        if series.outcome[i] == Outcome.OK:
            first = min(first, series.done(i))
        i += 1
    return first


def _thaw(series: Series, run: Sequence[int], after: int, first: int, usual: int) -> tuple[int, int]:
    """Bounds of the end of a freeze, by answers that came back at once: in half of the time they were sent in. Else (-1, -1).

    A service that is only slow needs as long for its answers as they took to send. Whoever deals with many answers at
    once is late with some: the first may be late by as much as lies between it and the last.
    """
    late = series.late
    waited = [(series.sent(i), series.intended[i] + late[series.slot[i]]) for i in run if series.slot[i] in late]
    i = after
    while i < len(series.slot) and series.sent(i) < first - usual:
        if series.bad(i) or i in series.blurred:  # what we read late came back late for us alone
            return -1, -1
        if series.outcome[i] == Outcome.OK:
            waited.append((series.sent(i), series.done(i)))
        i += 1
    if len(waited) < 2:
        return -1, -1
    sends, answers = zip(*waited, strict=True)
    thaw, spread = min(answers), max(answers) - min(answers)
    if thaw > first or 2 * spread > max(sends) - min(sends):
        return -1, -1
    return thaw - usual - spread, thaw
