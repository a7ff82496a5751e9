"""Coder's API as far as a run uses it: bootstrap, the write history, the truth, membership."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Any

import anyio

from harness.fake.life import Died
from harness.fake.removal import listing, removed, view
from harness.fake.store import Build, Job, Workspace
from harness.stack import CALL_S, Answer, NoAnswer

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.fake.life import Life
    from harness.fake.replica import Replica
    from harness.fake.site import Site
    from harness.fake.store import Member

VERSION = "v0.0.0-standin-fake"
_PINGS = 5
_FAR_MS = 15
_UNAUTHENTICATED = Answer(
    401, {"message": "You are signed out or your session has expired. Please sign in again to continue."}
)
_NOT_FOUND = Answer(404, {"message": "Resource not found or you do not have access to this resource"})


class FakeApi:
    """The API at one target; see `harness.stack.Api`."""

    def __init__(self, site: Site, name: str) -> None:
        self._site = site
        self._name = name

    async def call(
        self, method: str, path: str, body: Any = None, *, token: str | None = None, timeout_s: float = CALL_S
    ) -> Answer:
        """Send one request."""
        what = f"{method} {path}"
        with anyio.move_on_after(timeout_s):
            if self._name == "balancer":
                return await self._through_balancer(what, body, token)
            replica = self._site.replicas.get(self._name)
            if replica is None or not replica.healthy:
                raise NoAnswer(f"{what}: connection refused")
            try:
                return await self._served(replica, what, body, token)
            except Died as error:
                raise NoAnswer(f"{what}: connection reset") from error
        raise NoAnswer(f"{what}: no answer within {timeout_s:g} s")

    async def _through_balancer(self, what: str, body: Any, token: str | None) -> Answer:
        balancer = self._site.balancer
        if not balancer.accepts:
            raise NoAnswer(f"{what}: connection refused")
        try:
            await balancer.process.life.sleep(0)
            replica = balancer.pick()
            if replica is None:
                return Answer(503, "")
            if not replica.healthy:
                return Answer(502, "")
        except Died as error:
            raise NoAnswer(f"{what}: connection refused") from error
        try:
            answer = await self._served(replica, what, body, token)
        except Died:
            return Answer(502, "")
        return Answer(answer.status, answer.body, replica.process.address.port)

    async def _served(self, replica: Replica, what: str, body: Any, token: str | None) -> Answer:
        """As `_at`, which ends with its caller: unless a bug lets it live on."""
        work = self._at(replica, what, body, token)
        if not (self._site.behaviour.outlives_caller and _BUILD.fullmatch(what)):
            return await work
        task = asyncio.ensure_future(work)
        self._site.outliving.add(task)
        task.add_done_callback(self._forget)
        return await asyncio.shield(task)

    def _forget(self, task: asyncio.Task[Answer]) -> None:
        self._site.outliving.discard(task)
        if not task.cancelled():
            task.exception()  # a replica that died meanwhile; nobody is left to be told

    async def _at(self, replica: Replica, what: str, body: Any, token: str | None) -> Answer:
        life = replica.process.life
        await life.sleep(self._site.latency_ns(replica.process, db=False) / 1e9)
        if not replica.now.pool:
            return Answer(500, {"message": "An internal server error occurred."})
        while self._site.database_state() == "frozen":
            await life.sleep(0.05)
        if self._site.database_state() == "gone" and what != "GET /buildinfo":
            return Answer(500, {"message": "An internal server error occurred."})
        answer = await _Handler(self._site, replica, life, token).answer(what, body)
        await life.sleep(self._site.latency_ns(replica.process, db=True) / 1e9)
        return answer


class _Handler:
    """One request on one replica."""

    def __init__(self, site: Site, replica: Replica, life: Life, token: str | None) -> None:
        self.site, self.replica, self.life, self.store = site, replica, life, site.store
        self.token, self.user = token, self.store.tokens.get(token or "")

    async def answer(self, what: str, body: Any) -> Answer:
        for pattern, public, handle in _ROUTES:
            match = pattern.fullmatch(what)
            if match is None:
                continue
            if not public and self.user is None:
                return _UNAUTHENTICATED
            if not public and self.site.behaviour.lock_hold_s and handle is not _Handler.build:
                await self._hold()
            answer: Answer = await handle(self, body, match)
            return answer
        return Answer(404, {"message": "Route not found."})

    async def _hold(self) -> None:
        over: list[bool] = []
        self.site.shared(self.life, lambda *, ok: over.append(ok))
        while not over:
            await self.life.sleep(0.005)

    async def _commit(self, commit: Callable[[], None]) -> None:
        """Store a write as the server's behaviour has it: before the answer, later than it should, or too late."""
        late = self.site.behaviour.commit_after_answer_s
        if late:
            self.life.after(late, commit)
            return
        if self.site.behaviour.commit_before_answer_s:
            await self.life.sleep(self.site.behaviour.commit_before_answer_s)
        commit()

    async def buildinfo(self, _body: Any, _match: re.Match[str]) -> Answer:
        return Answer(200, {"version": VERSION, "external_url": "https://github.com/coder/coder"})

    async def first(self, body: Any, _match: re.Match[str]) -> Answer:
        if self.store.users:
            return Answer(400, {"message": "The initial user has already been created."})
        user = self.store.new_id()
        self.store.users[user] = body["username"]
        return Answer(201, {"user_id": user})

    async def login(self, _body: Any, _match: re.Match[str]) -> Answer:
        return Answer(201, {"session_token": self._token(next(iter(self.store.users)))})

    async def me(self, _body: Any, _match: re.Match[str]) -> Answer:
        return Answer(200, {"id": self.user, "username": self.store.users[str(self.user)]})

    async def licence(self, body: Any, _match: re.Match[str]) -> Answer:
        if body["license"].count(".") != 2:
            return Answer(400, {"message": "Invalid license"})
        return Answer(201, {"id": 1})

    async def entitlements(self, _body: Any, _match: re.Match[str]) -> Answer:
        return Answer(
            200, {"features": {"high_availability": {"entitlement": "entitled", "enabled": True}}, "errors": []}
        )

    async def organizations(self, _body: Any, _match: re.Match[str]) -> Answer:
        return Answer(200, [{"id": "org", "name": "coder"}])

    async def file(self, _body: Any, _match: re.Match[str]) -> Answer:
        return Answer(201, {"hash": self.store.new_id()})

    async def version(self, _body: Any, _match: re.Match[str]) -> Answer:
        key = self.store.new_id()
        self.store.versions[key] = "running"
        self.store.post(Job(lambda status: self.store.versions.update({key: status})))
        return Answer(201, {"id": key, "job": {"status": "pending"}})

    async def version_read(self, _body: Any, match: re.Match[str]) -> Answer:
        return Answer(200, {"id": match[1], "job": {"status": self.store.versions[match[1]]}})

    async def template(self, body: Any, _match: re.Match[str]) -> Answer:
        template = self.store.new_id()
        self.store.templates[template] = body["name"]
        return Answer(201, {"id": template})

    async def user_create(self, body: Any, _match: re.Match[str]) -> Answer:
        user = self.store.new_id()
        self.store.users[user] = body["username"]
        return Answer(201, {"id": user})

    async def key(self, _body: Any, match: re.Match[str]) -> Answer:
        return Answer(201, {"key": self._token(match[1])})

    async def create(self, body: Any, _match: re.Match[str]) -> Answer:
        if self.store.by_name(body["name"]):
            return Answer(409, {"message": f"Workspace {body['name']!r} already exists."})
        workspace, build = Workspace(self.store.new_id(), body["name"], owner=str(self.user)), Build(1, "start")
        await self._commit(lambda: self.store.add_build(workspace, build))
        return Answer(201, {"id": workspace.id, "name": workspace.name})

    async def by_name(self, _body: Any, match: re.Match[str]) -> Answer:
        found = self.store.by_name(match[1])
        return Answer(200, view(found)) if found else _NOT_FOUND

    async def read(self, _body: Any, match: re.Match[str]) -> Answer:
        found = self.store.workspaces.get(match[1])
        if found and found.deleted:
            return Answer(410, {"message": f"Workspace {found.id!r} was deleted"})
        return Answer(200, view(found)) if found else _NOT_FOUND

    async def builds(self, _body: Any, match: re.Match[str]) -> Answer:
        found = self.store.workspaces.get(match[1])
        rows = [{"build_number": b.number, "transition": b.transition} for b in found.builds] if found else []
        return Answer(200, rows) if found else _NOT_FOUND

    async def build(self, body: Any, match: re.Match[str]) -> Answer:
        found = self.store.workspaces.get(match[1])
        if found is None or found.deleted:
            return _NOT_FOUND
        if found.builds[-1].status == "pending":
            return Answer(409, {"message": "A workspace build is already active."})
        build = Build(len(found.builds) + 1, body["transition"])
        give_back = await self.site.exclusively(self.life) if self.site.behaviour.lock_hold_s else lambda: None
        try:
            await self._commit(lambda: self.store.add_build(found, build))
        finally:
            give_back()
        return Answer(201, {"build_number": build.number, "transition": build.transition})

    async def replicas(self, _body: Any, _match: re.Match[str]) -> Answer:
        return Answer(200, [_row(member) for member in self.replica.members()])

    async def listed(self, _body: Any, match: re.Match[str]) -> Answer:
        """Workspaces, templates or users that are there."""
        return Answer(200, listing(self.store, match[1]))

    async def remove(self, _body: Any, match: re.Match[str]) -> Answer:
        return removed(self.store, match[1], match[2])

    async def logout(self, _body: Any, _match: re.Match[str]) -> Answer:
        self.store.tokens = {token: user for token, user in self.store.tokens.items() if token != self.token}
        return Answer(200, {"message": "Logged out!"})

    async def read_all(self, _body: Any, _match: re.Match[str]) -> Answer:
        return Answer(204, "")

    async def health(self, _body: Any, _match: re.Match[str]) -> Answer:
        """Measured like the stand-in's: five pings over the replica's own link, warned of in whole milliseconds."""
        if self.user != next(iter(self.store.users)):
            return Answer(403, {"message": "Forbidden."})
        bugs, trip_s = self.site.behaviour, self.replica.trip_us / 1e6
        await self.life.sleep(_PINGS * trip_s + bugs.report_late_s)
        milliseconds = int(trip_s * 1000)
        text = f"Median database ping took {milliseconds} ms, threshold is {_FAR_MS} ms."
        warnings = [{"code": "EDB02", "message": text}] if milliseconds >= _FAR_MS and bugs.warns else []
        figures = {"latency_ms": milliseconds, "threshold_ms": _FAR_MS}
        return Answer(200, {"database": {"warnings": warnings, "error": None, **figures}})

    def _token(self, user: str) -> str:
        token = self.store.new_id()
        self.store.tokens[token] = user
        return token


def _row(member: Member) -> dict[str, Any]:
    return {"id": member.id, "hostname": member.hostname, "database_latency": member.latency_us}


def _route(text: str, handle: Any, *, public: bool = False) -> tuple[re.Pattern[str], bool, Any]:
    return re.compile(text.replace("*", "([^/]+)")), public, handle


_BUILD = re.compile("POST /workspaces/[^/]+/builds")
_ROUTES = [
    _route("GET /buildinfo", _Handler.buildinfo, public=True),
    _route("POST /users/first", _Handler.first, public=True),
    _route("POST /users/login", _Handler.login, public=True),
    _route("GET /users/me", _Handler.me),
    _route("POST /users/logout", _Handler.logout),
    _route("PUT /notifications/inbox/mark-all-as-read", _Handler.read_all),
    _route(r"GET /(workspaces|templates|users)(?:\?[^/]+)?", _Handler.listed),
    _route("DELETE /(templates|users)/*", _Handler.remove),
    _route("POST /licenses", _Handler.licence),
    _route("GET /entitlements", _Handler.entitlements),
    _route("GET /organizations", _Handler.organizations),
    _route("POST /files", _Handler.file),
    _route("POST /organizations/*/templateversions", _Handler.version),
    _route("GET /templateversions/*", _Handler.version_read),
    _route("POST /organizations/*/templates", _Handler.template),
    _route("POST /users", _Handler.user_create),
    _route("POST /users/*/keys/tokens", _Handler.key),
    _route("POST /users/me/workspaces", _Handler.create),
    _route("GET /users/me/workspace/*", _Handler.by_name),
    _route("GET /workspaces/*/builds", _Handler.builds),
    _route("POST /workspaces/*/builds", _Handler.build),
    _route("GET /workspaces/*", _Handler.read),
    _route("GET /replicas", _Handler.replicas),
    _route(r"GET /debug/health\?force=true", _Handler.health),
]
