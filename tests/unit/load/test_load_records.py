from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from harness import loadlog
from harness.errors import RunDirError
from harness.loadlog import Dropped, LoadRequest, dropped, requests, settled, totals
from harness.records import LOAD, LOAD_DROPPED, LOAD_END, LOAD_START, Outcome

if TYPE_CHECKING:
    from pathlib import Path


def write(folder: Path, *marks: tuple[int, ...], names: list[str] | None = None) -> Path:
    path = folder / "load-0.bin"
    path.write_bytes(b"".join(LOAD.pack(*mark) for mark in marks))
    if names is not None:
        (folder / "load-0.bin.names.json").write_text(json.dumps(names))
    return path


def start(request: int, t: int, name: int = 0) -> tuple[int, ...]:
    return (LOAD_START, Outcome.UNKNOWN, 0, name, 0, request, 0, t)


def end(request: int, t: int, outcome: Outcome = Outcome.OK, name: int = 0) -> tuple[int, ...]:
    return (LOAD_END, outcome, 200, name, 8081, request, 12, t)


def test_overlapping_requests_are_paired_and_open_ones_are_censored(tmp_path: Path) -> None:
    marks = start(0, 10), start(1, 11, 1), start(2, 12), end(1, 13, Outcome.RESET, 1), end(0, 15)
    path = write(tmp_path, *marks, names=["GET /a", "GET /b"])
    assert list(requests(path)) == [
        LoadRequest("GET /b", 11, 11, 13, Outcome.RESET, 200, 8081, 12),
        LoadRequest("GET /a", 10, 10, 15, Outcome.OK, 200, 8081, 12),
        LoadRequest("GET /a", 12, 12, 0, Outcome.UNKNOWN, 0, 0, 0),
    ]
    assert [request.censored for request in requests(path)] == [False, False, True]


def test_totals_count_every_start(tmp_path: Path) -> None:
    path = write(tmp_path, start(0, 1), end(0, 2), start(1, 3), names=["GET /"])
    with path.open("ab") as file:
        file.write(b"half")
    assert totals([path, path]) == (4, 2, {Outcome.OK: 2}, 2, 0)


def test_a_torn_end_leaves_the_request_censored(tmp_path: Path) -> None:
    path = write(tmp_path, start(0, 1), end(0, 2), names=["GET /"])
    path.write_bytes(path.read_bytes()[:-1])
    assert totals([path]) == (1, 1, {}, 1, 0)


def test_no_request_no_names_file(tmp_path: Path) -> None:
    assert totals([write(tmp_path)]) == (0, 0, {}, 0, 0)


def test_missing_names_file(tmp_path: Path) -> None:
    with pytest.raises(RunDirError, match=r"load-0\.bin\.names\.json cannot be read"):
        list(requests(write(tmp_path, start(0, 1))))


def test_name_out_of_range(tmp_path: Path) -> None:
    with pytest.raises(RunDirError, match=r"request name 3 is not in the names file, which has 1$"):
        list(requests(write(tmp_path, start(0, 1, 3), names=["GET /"])))


def test_a_name_that_is_new_since_the_names_were_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Totals may be asked for while the load runs: then a record can be younger than the names."""
    path = write(tmp_path, start(0, 1), start(1, 2, 1), names=["GET /", "GET /new"])
    read = [["GET /"], ["GET /", "GET /new"]]
    monkeypatch.setattr(loadlog, "_names", lambda _path: read.pop(0))
    assert [row.name for row in requests(path)] == ["GET /", "GET /new"]
    assert read == []


def test_end_without_start(tmp_path: Path) -> None:
    with pytest.raises(RunDirError, match="request 0 ends and has not started"):
        list(requests(write(tmp_path, end(0, 1), names=["GET /"])))


def test_a_late_start_tells_when_it_was_intended(tmp_path: Path) -> None:
    late = (LOAD_START, Outcome.UNKNOWN, 0, 0, 0, 0, 1500, 5_000_000)
    (request,) = requests(write(tmp_path, late, end(0, 6_000_000), names=["GET /"]))
    assert (request.intended, request.start, request.end) == (3_500_000, 5_000_000, 6_000_000)


def test_dropped_arrivals_are_no_requests_and_are_counted(tmp_path: Path) -> None:
    drop = (LOAD_DROPPED, Outcome.UNKNOWN, 0, 1, 0, 0, 0, 4)
    path = write(tmp_path, start(0, 1), drop, end(0, 5), drop, names=["GET /", "DROPPED Someone"])
    assert [request.name for request in requests(path)] == ["GET /"]
    assert list(dropped(path)) == [Dropped("DROPPED Someone", 4)] * 2
    assert totals([path]) == (1, 0, {Outcome.OK: 1}, 0, 2)


def test_a_censored_request_is_bad_once_it_is_older_than_its_limit(tmp_path: Path) -> None:
    path = write(tmp_path, start(0, 100), start(1, 500), start(2, 600), end(2, 601, Outcome.RESET), names=["GET /"])
    settles = {request.start: settled(request, 1000, 700) for request in requests(path)}
    assert settles == {100: Outcome.READ_TIMEOUT, 500: Outcome.UNKNOWN, 600: Outcome.RESET}
