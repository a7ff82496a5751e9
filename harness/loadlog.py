"""The load's records, read back: starts and ends paired into requests. Pure."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from harness.errors import RunDirError
from harness.records import LOAD, LOAD_START, LoadMark, Outcome, read_load, torn_bytes

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path


class LoadRequest(NamedTuple):
    """One request of the load. Times are monotonic ns; `end` is 0 for a censored one, with outcome `UNKNOWN`.

    `upstream` is the port of the replica that answered, 0 if unknown; `size` the bytes of the decoded body.
    """

    name: str
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


class LoadTotals(NamedTuple):
    """Counts over records files. `outcomes` counts ended requests only; `torn` files end in half a record."""

    started: int
    censored: int
    outcomes: Counter[Outcome]
    torn: int


def requests(path: Path) -> Iterator[LoadRequest]:
    """Pair starts and ends of the records file `path`: ended requests as they ended, then the censored as they started.

    Memory holds the requests that are open, never the whole file.
    """
    names = _names(path)
    started: dict[int, LoadMark] = {}
    for mark in read_load(path):
        if mark.name >= len(names):
            raise RunDirError(f"{path}: request name {mark.name} is not in the names file, which has {len(names)}")
        if mark.kind == LOAD_START:
            started[mark.request] = mark
            continue
        start = started.pop(mark.request, None)
        if start is None:
            raise RunDirError(f"{path}: request {mark.request} ends and has not started; the file was altered")
        outcome = Outcome(mark.outcome)
        yield LoadRequest(names[mark.name], start.t, mark.t, outcome, mark.status, mark.upstream, mark.size)
    for mark in started.values():
        yield LoadRequest(names[mark.name], mark.t, 0, Outcome.UNKNOWN, 0, 0, 0)


def totals(paths: Iterable[Path]) -> LoadTotals:
    """Count the requests of several records files."""
    outcomes: Counter[Outcome] = Counter()
    censored = torn = 0
    for path in paths:
        torn += bool(torn_bytes(path, LOAD))
        for request in requests(path):
            if request.censored:
                censored += 1
            else:
                outcomes[request.outcome] += 1
    return LoadTotals(outcomes.total() + censored, censored, outcomes, torn)


def _names(path: Path) -> list[str]:
    file = path.with_name(f"{path.name}.names.json")
    if not file.exists() and path.stat().st_size < LOAD.size:
        return []  # names are written with the first record, so a load that sent nothing has none
    try:
        names: list[str] = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunDirError(f"{path}: its names file {file.name} cannot be read: {error}") from error
    return names
