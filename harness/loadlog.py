"""The load's records, read back: starts and ends paired into requests, and the arrivals that were never sent. Pure."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from harness.errors import RunDirError
from harness.records import LOAD, LOAD_DROPPED, LOAD_START, LoadMark, Outcome, read_load, torn_bytes

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path


class LoadRequest(NamedTuple):
    """One request of the load. Times are monotonic ns; `end` is 0 for a censored one, with outcome `UNKNOWN`.

    `intended` is when it was due: before `start` where it was sent late, the same for whoever waits for answers.
    `upstream` is the port of the replica that answered, 0 if unknown; `size` the bytes of the decoded body.
    """

    name: str
    intended: int
    start: int
    end: int
    outcome: Outcome
    status: int
    upstream: int
    size: int

    @property
    def censored(self) -> bool:
        """Still open when the load stopped. It took at least until then, and nobody knows how it would have ended."""
        return self.end == 0


class Dropped(NamedTuple):
    """An arrival that was not sent, because too many were in flight. `intended` is in monotonic ns."""

    name: str
    intended: int


class LoadTotals(NamedTuple):
    """Counts over records files. `outcomes` counts ended requests only; `torn` files end in half a record.

    `started` is what was sent, so `started + dropped` is what was due, as far as a load file is open loop.
    """

    started: int
    censored: int
    outcomes: Counter[Outcome]
    torn: int
    dropped: int


def requests(path: Path) -> Iterator[LoadRequest]:
    """Pair starts and ends of the records file `path`: ended requests as they ended, then the censored as they started.

    Memory holds the requests that are open, never the whole file.
    """
    return (row for row in _rows(path) if isinstance(row, LoadRequest))


def dropped(path: Path) -> Iterator[Dropped]:
    """Arrivals of the records file `path` that were not sent, as they were due."""
    return (row for row in _rows(path) if isinstance(row, Dropped))


def totals(paths: Iterable[Path]) -> LoadTotals:
    """Count the requests and dropped arrivals of several records files."""
    outcomes: Counter[Outcome] = Counter()
    censored = torn = left_out = 0
    for path in paths:
        torn += bool(torn_bytes(path, LOAD))
        for row in _rows(path):
            if isinstance(row, Dropped):
                left_out += 1
            elif row.censored:
                censored += 1
            else:
                outcomes[row.outcome] += 1
    return LoadTotals(outcomes.total() + censored, censored, outcomes, torn, left_out)


def settled(request: LoadRequest, stopped_ns: int, limit_ns: int) -> Outcome:
    """Outcome to judge a request by, when the load stopped at `stopped_ns` and an answer is owed within `limit_ns`.

    A censored request that was due longer ago than that has broken its limit, however it would have ended: it counts as
    READ_TIMEOUT. A younger one stays UNKNOWN.
    """
    if request.censored and stopped_ns - request.intended > limit_ns:
        return Outcome.READ_TIMEOUT
    return request.outcome


def _rows(path: Path) -> Iterator[LoadRequest | Dropped]:
    names = _names(path)
    started: dict[int, LoadMark] = {}
    for mark in read_load(path):
        if mark.name >= len(names):
            names = _names(path)  # the load still runs, and has a new name since: it is written before its first record
        if mark.name >= len(names):
            raise RunDirError(f"{path}: request name {mark.name} is not in the names file, which has {len(names)}")
        if mark.kind == LOAD_START:
            started[mark.request] = mark
            continue
        if mark.kind == LOAD_DROPPED:
            yield Dropped(names[mark.name], mark.t)
            continue
        start = started.pop(mark.request, None)
        if start is None:
            raise RunDirError(f"{path}: request {mark.request} ends and has not started; the file was altered")
        how = Outcome(mark.outcome), mark.status, mark.upstream, mark.size
        yield LoadRequest(names[mark.name], _intended(start), start.t, mark.t, *how)
    for mark in started.values():
        yield LoadRequest(names[mark.name], _intended(mark), mark.t, 0, Outcome.UNKNOWN, 0, 0, 0)


def _intended(start: LoadMark) -> int:
    """When the request was due: its start mark has, in `size`, how many microseconds late it was sent."""
    return start.t - start.size * 1000


def _names(path: Path) -> list[str]:
    file = path.with_name(f"{path.name}.names.json")
    if not file.exists() and path.stat().st_size < LOAD.size:
        return []  # names are written with the first record, so a load that sent nothing has none
    try:
        names: list[str] = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunDirError(f"{path}: its names file {file.name} cannot be read: {error}") from error
    return names
