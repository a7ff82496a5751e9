"""Refusals that our own side causes: rate limits, their bypass, tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from load_rig import LOADTESTS, finish, fixed_gets, make_plan, start

from harness.loadlog import requests, totals
from harness.records import Outcome

if TYPE_CHECKING:
    from pathlib import Path

    from load_server import Api

BYPASS = "x-coder-bypass-ratelimit"


def test_a_closed_user_waits_as_long_as_a_429_says(api: Api, tmp_path: Path) -> None:
    _, out, records = fixed_gets(tmp_path, api.url, "/limited", gets=2)
    first, second = requests(records)
    assert first.outcome == second.outcome == Outcome.RATE_LIMITED
    assert second.start - first.end >= 900_000_000  # Retry-After: 1, from a moment just after the answer
    assert out.count("/limited: 429, the 512 requests per minute of one user and route were exceeded") == 1
    assert "CHAOS_LOAD_TOKENS" in out


def test_arrivals_go_on_under_a_429(api: Api, tmp_path: Path) -> None:
    file = LOADTESTS.parent / "tests/unit/load/locustfiles/open_gets.py"
    (process,) = make_plan(tmp_path, api.url, file=file, pace=100.0).children()
    finish(start(process, PATHS="/limited", GETS="30"))
    assert totals([process.records]).outcomes == {Outcome.RATE_LIMITED: 30}


def test_what_our_own_side_should_change_is_told_once(api: Api, tmp_path: Path) -> None:
    _, out, records = fixed_gets(tmp_path, api.url, "/last /expired", gets=2)
    assert totals([records]).outcomes == {Outcome.OK: 2, Outcome.UNAUTHORIZED: 2}
    assert (
        out.count("/last: the 512 requests per minute of one user and route are used up and the next are refused") == 1
    )
    assert out.count("/expired: 401, a token is not valid or has expired") == 1


@pytest.mark.parametrize("who", ["member", "owner", "liar"])
def test_only_an_owner_lifts_the_limits(api: Api, tmp_path: Path, who: str) -> None:
    api.owners = {"token-0"} if who != "member" else set()
    api.liars = {"token-0"} if who == "liar" else set()
    _, out, records = fixed_gets(tmp_path, api.url, "/healthz /buildinfo", CHAOS_LOAD_BYPASS="1")
    sent = [(seen.path, BYPASS in seen.headers) for seen in api.seen]
    assert sent == [("/api/v2/users/me", False), ("/healthz", who != "member"), ("/buildinfo", who == "owner")]
    statuses = [row.status for row in requests(records)]
    assert statuses == [200, 428 if who == "liar" else 200, 200]
    assert ("the token is not seen to be an owner's" in out) == (who == "member")
    assert ("/healthz: 428, the token is no owner's and the rate limits stay; unset CHAOS_LOAD_BYPASS" in out) == (
        who == "liar"
    )
