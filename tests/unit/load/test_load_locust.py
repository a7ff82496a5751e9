"""Locust itself, in child processes against a local server."""

from __future__ import annotations

import json
import time
from collections import Counter
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import pytest
from load_rig import finish, make_plan, start, terminate, virtual_user, wait_for
from load_server import UPSTREAM_PORT, Api

from harness.load import EXIT_WRITE_FAILED
from harness.loadlog import LoadRequest, requests, totals
from harness.records import Outcome

if TYPE_CHECKING:
    from pathlib import Path


KNOWN_AS = 20_001


class Evening(NamedTuple):
    """Two processes with 20 users for 8 s, then a server that hangs, then SIGTERM."""

    api: Api
    records: list[Path]
    requests: list[LoadRequest]
    seconds_to_end: float
    codes: list[int]


@pytest.fixture(scope="module")
def evening(module_api: Api, tmp_path_factory: pytest.TempPathFactory) -> Evening:
    api = module_api
    plan = make_plan(
        tmp_path_factory.mktemp("run"),
        api.url,
        users=20,
        processes=2,
        upstream_ports={f"127.0.0.1:{UPSTREAM_PORT}": KNOWN_AS},
    )
    processes = plan.children()
    children = [start(process) for process in processes]
    wait_for(lambda: len(api.seen) > 0)
    time.sleep(8)
    api.hanging.set()
    wait_for(lambda: api.hung >= 2)
    took = terminate(children)
    records = [process.records for process in processes]
    return Evening(
        api, records, [r for path in records for r in requests(path)], took.seconds, [c.returncode for c in children]
    )


def test_rate_is_users_times_pace(evening: Evening) -> None:
    first = min(request.start for request in evening.requests)
    due = sum(request.start - first < 8e9 for request in evening.requests)
    assert 100 <= due <= 220  # 160 on average; wide, since phases and stays are drawn


def test_sigterm_ends_within_five_seconds(evening: Evening) -> None:
    assert evening.seconds_to_end < 5.0
    assert evening.codes == [0, 0]


def test_every_request_is_recorded_and_hanging_ones_are_censored(evening: Evening) -> None:
    counted = totals(evening.records)
    assert counted.outcomes == {Outcome.OK: len(evening.api.seen) - evening.api.hung}
    assert counted.censored >= evening.api.hung > 0  # a busy server may not have read the last of them yet
    assert counted.torn == 0


def test_records_carry_name_times_upstream_and_size(evening: Evening) -> None:
    ended = [request for request in evening.requests if not request.censored]
    assert all(request.end > request.start for request in ended)
    assert {(request.status, request.upstream) for request in ended} == {(200, KNOWN_AS)}
    assert {request.size for request in ended if request.name == "GET /api/v2/buildinfo"} == {2}
    names = Counter(request.name for request in evening.requests)
    assert names["GET /api/v2/users/me"] > 0
    assert names["GET /api/v2/workspaces"] > 0


def test_names_file_is_whole(evening: Evening) -> None:
    for path in evening.records:
        names = json.loads(path.with_name(f"{path.name}.names.json").read_text())
        assert len(set(names)) == len(names)
        assert not list(path.parent.glob("*.tmp"))


def test_every_user_has_a_token_of_its_own_and_no_cookie(evening: Evening) -> None:
    headers = [seen.headers for seen in evening.api.seen]
    tokens = {header["coder-session-token"] for header in headers}
    assert len(tokens) > 12  # all 20 but for those whose phase lies beyond 8 s
    assert tokens <= {f"token-{k}" for k in range(20)}
    assert not any("cookie" in header or "x-coder-bypass-ratelimit" in header for header in headers)


def test_a_full_disk_ends_the_process(api: Api, tmp_path: Path) -> None:
    (process,) = make_plan(tmp_path, api.url, pace=100.0).children()
    limited = process._replace(argv=("prlimit", "--fsize=4096", *process.argv))
    code, out = finish(start(limited))
    assert code == EXIT_WRITE_FAILED
    assert f"load: cannot write {process.records}: File too large\n" in out
    assert totals([process.records]).torn == 1
    names = {request.name for request in requests(process.records)}
    assert "GET /api/v2/workspaces/{workspace}/builds" in names
    assert not [name for name in names if "w1" in name or "?" in name]


def test_records_are_never_overwritten(api: Api, tmp_path: Path) -> None:
    (process,) = make_plan(tmp_path, api.url).children()
    process.records.write_bytes(b"earlier")
    assert finish(start(process))[0] == EXIT_WRITE_FAILED
    assert process.records.read_bytes() == b"earlier"


def test_without_a_token_nothing_starts(api: Api, tmp_path: Path) -> None:
    (process,) = make_plan(tmp_path, api.url).children()
    process.env.pop("CHAOS_LOAD_TOKENS")
    code, out = finish(start(process))
    assert code == 2
    assert "load: no session token: neither CHAOS_LOAD_TOKENS nor CODER_SESSION_TOKEN is set" in out
    assert not api.seen


def refetches(status: str) -> set[float]:
    """Seconds from list to list within a visit. Only the first of a visit is followed by the templates."""
    asked = virtual_user(40, status, CHAOS_LOAD_PACE="0.05")
    gaps, last = set(), 0.0
    for (at, route), (_, following) in pairwise(asked):
        if route == "/workspaces":
            if following != "/templates":
                gaps.add(round(at - last, 3))
            last = at
    return gaps


def test_list_is_refetched_as_the_page_does() -> None:
    assert refetches("running") == {30.0}
    assert refetches("starting") == {5.0}
    assert refetches("error") == set()


def test_virtual_rate_is_the_pace_and_the_seed_decides() -> None:
    asked = virtual_user(6000, "none", CHAOS_LOAD_PACE="1.0", CHAOS_LOAD_SEED="3")
    assert 0.97 < len(asked) / asked[-1][0] < 1.03
    assert asked[:12] == [(asked[0][0], route) for _, route in asked[:12]]  # shell and first page are one burst
    assert asked[:500] == virtual_user(200, "none", CHAOS_LOAD_PACE="1.0", CHAOS_LOAD_SEED="3")[:500]
    assert asked[:500] != virtual_user(200, "none", CHAOS_LOAD_PACE="1.0", CHAOS_LOAD_SEED="4")[:500]
