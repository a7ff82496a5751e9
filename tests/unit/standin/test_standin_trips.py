"""The table of queries: complete, added up right, and really made, whatever the handler itself asks."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from standin.app import ROUTES
from standin.queries import PLANS, READ, Plan
from standin.trips import CURRENT, Trips, fill_current, message_of
from standin_lab import site

TRIPS = "X-Standin-Db-Trips"


class _Pool:
    """A pool that remembers how many connections were out at once, and what ran on each."""

    trips_per_query = 1

    def __init__(self, *, bound: bool = False, busy: bool = False) -> None:
        self.busy = busy
        self.most = self._out = 0
        self.lent: list[int] = []
        self._bound = bound

    def bound(self) -> bool:
        return self._bound

    def wanted(self) -> bool:
        return self.busy

    @asynccontextmanager
    async def acquire(self) -> AsyncIterator["_Loan"]:
        self._out += 1
        self.most = max(self.most, self._out)
        loan = _Loan()
        yield loan
        self.lent.append(loan.trips)
        self._out -= 1


class _Loan:
    trips = 0

    async def fetchval(self, _query: str) -> None:
        current = CURRENT.get()
        assert current is not None
        current.made += 1
        self.trips += 1
        await asyncio.sleep(0)


def _run(key: str, pool: Any, made: int, **more: Any) -> Trips:
    async def fill() -> Trips:
        trips = Trips(key, 2)
        CURRENT.set(trips)
        trips.made = made
        await trips.fill(pool, **more)
        return trips

    return asyncio.run(fill())


def test_every_route_has_a_plan_and_every_plan_a_use() -> None:
    routes = {f"{route.method} {route.path}" for route in ROUTES}
    plain = {key for key in PLANS if not key.startswith("event of ") and ", " not in key}
    assert routes == plain
    for key in PLANS.keys() - plain:
        assert key.startswith("event of ") or key.partition(", ")[0] in routes


def test_a_query_may_be_two_round_trips_with_arguments_and_is_one_without() -> None:
    plan = Plan(
        READ, ("GetAPIKeyByID", ("GetLogoURL", "GetTemplatesWithFilter")), ("BEGIN", "InsertTemplate", "COMMIT")
    )
    assert (plan.trips(2), plan.trips_within(2), plan.groups(2)) == (9, 4, [[1, 2]])
    assert (plan.trips(), plan.trips_within(), plan.groups()) == (6, 3, [[1, 1]])
    assert plan.names() == ["GetAPIKeyByID", "GetLogoURL", "GetTemplatesWithFilter", "InsertTemplate"]
    assert PLANS["GET /workspaces"].trips(2) == 2 * 16
    assert PLANS["GET /workspaces/{workspace}"].trips() == 16
    assert PLANS["GET /buildinfo"].trips() == 0


@pytest.mark.parametrize("made", [0, 1, 2, 5, 21, 26, 31, 32, 40])
def test_what_is_missing_is_made(made: int) -> None:
    pool = _Pool(busy=True)
    trips = _run("GET /workspaces", pool, made)
    assert trips.made == max(32, made)
    assert max(pool.lent, default=0) <= 2  # somebody waits, so each query gives its connection back
    assert pool.most == (3 if made <= 26 else min(1, 32 - min(made, 32)))


def test_a_request_with_one_connection_uses_nothing_else() -> None:
    pool = _Pool(bound=True)
    assert _run("GET /workspaces", pool, 3).made == 32
    assert pool.most == 1


def test_a_connection_nobody_waits_for_is_kept() -> None:
    pool = _Pool()
    assert _run("GET /workspaces", pool, 2).made == 32
    assert pool.lent[0] == 18
    assert sorted(pool.lent[1:]) == [2] * 6  # those that run at the same time


def test_the_round_trips_of_a_bug_come_on_top() -> None:
    async def check() -> None:
        trips, pool = Trips("GET /users/{user}"), _Pool()
        CURRENT.set(trips)
        trips.made, trips.beside = 41, 40
        await trips.fill(pool)  # type: ignore[arg-type]
        assert trips.made == 40 + PLANS["GET /users/{user}"].trips()

    asyncio.run(check())


def test_what_is_still_to_come_is_left_out() -> None:
    assert _run("GET /users/{user}", _Pool(), 2, leave=1).made == PLANS["GET /users/{user}"].trips(2) - 1


def test_a_transaction_is_filled_up_to_its_commit() -> None:
    async def check() -> None:
        pool, trips = _Pool(), Trips("POST /workspaces/{workspace}/builds", 2)
        CURRENT.set(trips)
        trips.made = 9
        async with pool.acquire() as conn:
            await trips.fill_within(conn, since=4)
        assert trips.made == 4 + PLANS[trips.key].trips_within(2) - 1

    asyncio.run(check())


def test_a_message_counts_for_itself() -> None:
    async def check() -> None:
        request, pool = Trips("GET /notifications/inbox/watch"), _Pool()
        CURRENT.set(request)
        async with message_of("event of a watched inbox", pool):  # type: ignore[arg-type]
            assert CURRENT.get() is not request
        assert (request.made, pool.lent) == (0, [1])
        assert CURRENT.get() is request
        await fill_current(pool)  # type: ignore[arg-type]
        assert request.made == PLANS[request.key].trips()

    asyncio.run(check())


def test_statements_take_the_names_of_the_plan_in_turn() -> None:
    trips = Trips("GET /organizations")
    assert [trips.name() for _ in range(4)] == [
        "GetAPIKeyByID",
        "GetAuthorizationUserRoles",
        "GetOrganizations",
        "Extra",
    ]


def test_cases_that_cost_less_or_more(database: str) -> None:
    async def check() -> None:
        async with site(database, trips_header=True) as up:
            none = await up.owner.api("GET", "/workspaces")
            assert int(none.headers[TRIPS]) == PLANS["GET /workspaces, none found"].trips()
            await up.workspace("one")
            some = await up.owner.api("GET", "/workspaces")
            assert int(some.headers[TRIPS]) == PLANS["GET /workspaces"].trips()
            report = await up.owner.api("GET", "/debug/health?force=true")
            assert int(report.headers[TRIPS]) == PLANS["GET /debug/health, measured"].trips()
            refused = await up.owner.with_token("0123456789-0123456789012345678901").api("GET", "/workspaces")
            assert (refused.status_code, refused.headers[TRIPS]) == (401, "1")
            assert (await up.owner.call("GET", "/healthz")).headers.get(TRIPS, "0") == "0"

    asyncio.run(check())


def test_two_round_trips_per_query_when_asked_for(database: str) -> None:
    async def check() -> None:
        async with site(database, trips_header=True, trips_per_query=2) as up:
            await up.workspace("one")
            for path, key in (("/workspaces", "GET /workspaces"), ("/users/me", "GET /users/{user}")):
                answer = await up.owner.api("GET", path)
                assert int(answer.headers[TRIPS]) == PLANS[key].trips(2)

    asyncio.run(check())


def test_nobody_is_told_unless_asked(database: str) -> None:
    async def check() -> None:
        async with site(database) as up:
            assert TRIPS not in (await up.owner.api("GET", "/workspaces")).headers

    asyncio.run(check())
