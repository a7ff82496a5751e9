"""A replica of the stand-in answers every row of the table of calls as the row says."""

from __future__ import annotations

import asyncio
import json
import re
import sys
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from coder_api import API, CALLS, TOKEN_HEADER, Auth, Call, Kind, find

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "compose"), str(ROOT / "tests" / "unit" / "standin")]

from coder_examples import Sent, World, example  # noqa: E402
from standin.app import ROUTES  # noqa: E402
from standin.queries import PLANS  # noqa: E402
from standin_lab import PASSWORD, site  # noqa: E402
from standin_postgres import Postgres, chown_for_postgres  # noqa: E402
from websockets.exceptions import InvalidStatus  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from websockets.asyncio.client import ClientConnection

SIGNED_OUT = "You are signed out or your session has expired. Please sign in again to continue."
NOT_FOUND = "Resource not found or you do not have access to this resource"
TRIPS = "X-Standin-Db-Trips"
UUID_PARTS = frozenset({"workspace", "workspacebuild", "templateversion", "template", "job", "id"})


async def _open(stack: AsyncExitStack, url: str, runner: asyncio.Runner) -> World:
    up = await stack.enter_async_context(site(url, scale=0.2, daemons=2, trips_header=True))
    owner = up.owner
    workspace = await up.workspace("one")
    build = (await owner.get(f"/workspaces/{workspace}"))["latest_build"]
    user = {"username": "mia", "email": "mia@example.com", "password": PASSWORD}
    await owner.post("/users", user)
    login = {"email": user["email"], "password": PASSWORD}
    session = await owner.post("/users/login", login)
    parts = {
        "user": "me",
        "organization": "default",
        "workspace": workspace,
        "workspacename": "one",
        "workspacebuild": build["id"],
        "template": up.template,
        "templatename": "plain",
        "templateversion": build["template_version_id"],
        "keyid": "nothing",
        "job": build["job"]["id"],
        "id": str(uuid4()),
    }
    member = owner.with_token(session["session_token"])
    return World(up, member, login, parts, build["job"]["file_id"], runner.run)


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with tempfile.TemporaryDirectory(prefix="coder-api-pg-") as folder, asyncio.Runner() as runner:
        chown_for_postgres(Path(folder))
        server = Postgres(Path(folder))
        try:
            server.wait()
            stack = AsyncExitStack()
            try:
                yield runner.run(_open(stack, server.create_schema(), runner))
            finally:
                runner.run(stack.aclose())
        finally:
            server.stop()


def _missing(value: Any, path: str) -> bool:
    """Whether an answer lacks a field, named by a dotted path."""
    for step in path.split("."):
        if step == "[]":
            if not isinstance(value, list) or not value:
                return True
            value = value[0]
        elif isinstance(value, dict) and step in value:
            value = value[step]
        else:
            return True
    return False


def _trips(call: Call) -> int:
    """The round trips to the database that the stand-in's own table says."""
    return PLANS[call.name.replace(API, "")].trips()


def rows(wanted: Callable[[Call], bool]) -> pytest.MarkDecorator:
    chosen = [call for call in CALLS if wanted(call)]
    return pytest.mark.parametrize("call", chosen, ids=[call.name.replace(API, "") for call in chosen])


def _plain(call: Call) -> bool:
    return call.kind not in {Kind.SOCKET, Kind.STREAM}


@rows(lambda call: _plain(call) and call.name != f"POST {API}/users/first")
def test_a_call_that_succeeds(world: World, call: Call) -> None:
    async def check() -> None:
        sent = await example(world, call)
        client = None if call.auth is not Auth.NONE else world.up.owner.with_token("")
        response = await world.send(call, sent, client)
        assert response.status_code in call.ok, response.text
        assert response.headers["X-Coder-Build-Version"].startswith("v2.")
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        if call.kind is Kind.JSON and response.status_code != 304:
            assert response.headers["Content-Type"] == Kind.JSON.value
            missing = [name for name in call.fields if _missing(response.json(), name)]
            assert not missing, response.text
        elif call.kind is Kind.EMPTY:
            assert not response.content
        if call.path.startswith(API):
            limit = 512 if call.limit is None else call.limit
            assert response.headers["X-RateLimit-Limit"] == str(limit)
            assert 0 <= int(response.headers["X-RateLimit-Remaining"]) < limit
            assert int(response.headers[TRIPS]) == _trips(call)

    world.run(check())


def test_the_first_user_is_made_once(world: World) -> None:
    call = find("POST", f"{API}/users/first")
    assert call is not None

    async def check() -> None:
        response = await world.send(call, await example(world, call), world.up.owner.with_token(""))
        assert (response.status_code, response.json()["message"]) == (409, "The initial user has already been created.")

    world.run(check())


@rows(lambda call: call.auth is not Auth.NONE)
def test_a_call_without_a_token(world: World, call: Call) -> None:
    async def check() -> None:
        nobody = world.up.owner.with_token("")
        response = await nobody.call(call.method, world.path(call), json={})
        assert (response.status_code, response.json()["message"]) == (401, SIGNED_OUT)
        assert response.json()["detail"]
        assert not response.json()["detail"].startswith("Internal error")  # that would be the deployment's failure

    world.run(check())


@rows(lambda call: call.auth is Auth.OWNER)
def test_a_call_by_a_member(world: World, call: Call) -> None:
    async def check() -> None:
        response = await world.member.call(call.method, world.path(call), json={})
        text = {403: "Forbidden.", 404: NOT_FOUND}[call.hidden]
        assert (response.status_code, response.json()) == (call.hidden, {"message": text})

    world.run(check())


@rows(lambda call: 404 in call.errors and bool(UUID_PARTS & set(re.findall(r"\{([a-z]+)\}", call.path))))
def test_a_call_for_what_is_not_there(world: World, call: Call) -> None:
    async def check() -> None:
        unknown = {part: str(uuid4()) for part in UUID_PARTS}
        sent = await example(world, call)
        response = await world.send(call, Sent(sent.body, unknown, sent.query))
        assert (response.status_code, response.json()["message"]) == (404, NOT_FOUND)
        nonsense = await world.send(call, Sent(sent.body, dict.fromkeys(UUID_PARTS, "nonsense"), sent.query))
        assert (nonsense.status_code, nonsense.json()["message"]) == (400, 'Invalid UUID "nonsense".')

    world.run(check())


@rows(lambda call: bool(call.required))
def test_a_call_without_what_it_needs(world: World, call: Call) -> None:
    async def check() -> None:
        sent = await example(world, call)
        for name in call.required:
            body = {key: value for key, value in sent.body.items() if key != name}
            response = await world.send(call, Sent(body, sent.parts))
            assert (response.status_code, response.json()["message"]) == (400, "Validation failed."), name
            told = {problem["field"]: problem["detail"] for problem in response.json()["validations"]}
            assert told == {name: 'Validation failed for tag "required" with value: ""'}
        response = await world.up.owner.call(call.method, world.path(call), content=b"{")
        assert (response.status_code, response.json()["message"]) == (400, "Request body must be valid JSON.")

    world.run(check())


async def _frames(socket: ClientConnection, call: Call) -> None:
    """Read until a frame has every field of the row."""
    missing = list(call.fields)
    while missing:
        frame = json.loads(await asyncio.wait_for(socket.recv(), 20))
        missing = [name for name in call.fields if _missing(frame, name)]


@rows(lambda call: call.kind is Kind.SOCKET)
def test_a_socket(world: World, call: Call) -> None:
    async def check() -> None:
        with pytest.raises(InvalidStatus) as refused:
            await world.dial(call, world.up.owner.with_token("")).__aenter__()
        assert refused.value.response.status_code == 401
        async with world.dial(call, world.up.owner) as socket:
            assert socket.response is not None
            assert int(socket.response.headers[TRIPS]) == _trips(call)
            await _frames(socket, call)
            await asyncio.wait_for(await socket.ping(), 20)

    world.run(check())


@rows(lambda call: call.kind is Kind.STREAM)
def test_a_stream(world: World, call: Call) -> None:
    async def check() -> None:
        owner = world.up.owner
        headers = {TOKEN_HEADER: owner.token}
        async with owner.http.stream("GET", f"{owner.base}{world.path(call)}", headers=headers) as response:
            assert response.headers["Content-Type"] == Kind.STREAM.value
            assert int(response.headers[TRIPS]) == _trips(call)
            lines = aiter(response.aiter_lines())
            seen = [await asyncio.wait_for(anext(lines), 20) for _ in range(4)]
            assert seen[:3] == ["event: ping", "", "event: data"]
            data = json.loads(seen[3].removeprefix("data: "))
            assert not [name for name in call.fields if _missing(data, name)]

    world.run(check())


def test_the_echo_sends_back_any_number_of_texts_and_bytes(world: World) -> None:
    call = find("GET", f"{API}/debug/ws")
    assert call is not None

    async def check() -> None:
        async with world.dial(call, world.up.owner) as socket:
            for number in range(20):
                for message in (str(number), number.to_bytes(8, "big")):
                    await socket.send(message)
                    assert await asyncio.wait_for(socket.recv(), 20) == message

    world.run(check())


@rows(lambda call: call.path.startswith(API))
def test_a_call_is_a_route_under_the_names_of_coder(call: Call) -> None:
    assert call.name in {f"{route.method} {API}{route.path}" for route in ROUTES}


def test_a_request_is_found_by_its_path() -> None:
    assert find("GET", f"{API}/users/first") is not find("GET", f"{API}/users/me")
    found = find("GET", f"{API}/workspaces?q=owner:me&limit=25&offset=0")
    assert found is not None
    assert found.path == f"{API}/workspaces"
    assert find("GET", f"{API}/workspaces/{uuid4()}/watch-ws") is not None
    assert find("GET", f"{API}/nothing") is None
    assert find("DELETE", f"{API}/workspaces") is None
    assert len({call.name for call in CALLS}) == len(CALLS)
