"""Tools of these tests: replicas in this process or in their own, a signed-in client, a relay that can fail."""

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from standin.config import Settings
from standin.listening import stop_listening
from standin.script import Step, script
from standin.server import Replica
from standin_postgres import ROOT, free_port
from websockets.asyncio.client import ClientConnection, connect

PASSWORD = "SomeSecurePassword!1"  # noqa: S105
FAST = 0.05


async def until(what: Callable[[], Awaitable[Any]], *, seconds: float = 20.0) -> Any:
    """Poll until ``what`` gives something true; fail with what was last seen."""
    deadline, seen = time.monotonic() + seconds, None
    while time.monotonic() < deadline:
        seen = await what()
        if seen:
            return seen
        await asyncio.sleep(0.01)
    raise AssertionError(f"not within {seconds} s; last seen: {seen!r}")


def slow_builds(patch: pytest.MonkeyPatch, steps: int) -> None:
    """Make builds, not imports, take that many steps of 0.2 s (server time) each before what they do otherwise."""

    def slow(kind: str, transition: str) -> tuple[Step, ...]:
        usual = script(kind, transition)
        return usual if kind == "template_version_import" else (*(steps * (usual[0],)), *usual)

    patch.setattr("standin.provisioner.script", slow)


def settings_for(url: str, **changes: Any) -> Settings:
    port = free_port()
    own = f"http://127.0.0.1:{port}"
    made = Settings(
        host="127.0.0.1", port=port, access_url=own, postgres_url=url, relay_url=own, hostname=f"coder-{port}"
    )
    return replace(made, **{"scale": FAST, **changes})


class Client:
    """JSON calls to one replica; ``token`` goes along when there is one."""

    def __init__(self, http: httpx.AsyncClient, base: str, token: str = "") -> None:
        self.http = http
        self.base = base
        self.token = token

    def at(self, base: str) -> "Client":
        return Client(self.http, base, self.token)

    def with_token(self, token: str) -> "Client":
        return Client(self.http, self.base, token)

    async def call(self, method: str, path: str, **more: Any) -> httpx.Response:
        headers = {"Coder-Session-Token": self.token} if self.token else {}
        headers.update(more.pop("headers", {}))
        self.http.cookies.clear()
        return await self.http.request(method, f"{self.base}{path}", headers=headers, **more)

    async def api(self, method: str, path: str, **more: Any) -> httpx.Response:
        return await self.call(method, f"/api/v2{path}", **more)

    async def get(self, path: str) -> Any:
        response = await self.api("GET", path)
        assert response.status_code == 200, (path, response.status_code, response.text)
        return response.json()

    async def post(self, path: str, body: Any, status: int = 201) -> Any:
        response = await self.api("POST", path, json=body)
        assert response.status_code == status, (path, response.status_code, response.text)
        return response.json()

    def watch(self, workspace: str) -> connect:
        url = f"ws{self.base.removeprefix('http')}/api/v2/workspaces/{workspace}/watch-ws"
        return connect(url, additional_headers={"Coder-Session-Token": self.token}, proxy=None)


@dataclass
class Site:
    """Running replicas, a client of the owner at the first one, and a template to build from."""

    replicas: list[Replica]
    owner: Client
    template: str = ""

    def client(self, index: int) -> Client:
        return self.owner.at(self.replicas[index].services.settings.access_url)

    async def workspace(self, name: str, *, ready: bool = True) -> str:
        made = await self.owner.post("/users/me/workspaces", {"name": name, "template_id": self.template})
        if ready:
            await self.settled(made["id"])
        workspace: str = made["id"]
        return workspace

    async def settled(self, workspace: str, status: str = "running") -> Any:
        async def look() -> Any:
            response = await self.owner.api("GET", f"/workspaces/{workspace}?include_deleted=true")
            found = response.json()
            return found if response.status_code == 200 and found["latest_build"]["status"] == status else None

        return await until(look)


async def set_up(client: Client) -> tuple[Client, str]:
    """Make the first user and a template; give the owner's client and the template's id."""
    user = {"email": "owner@example.com", "username": "owner", "password": PASSWORD}
    made = await client.post("/users/first", user)
    session = await client.post("/users/login", {"email": user["email"], "password": PASSWORD})
    owner = client.with_token(session["session_token"])
    tar = {"Content-Type": "application/x-tar"}
    file_id = (await owner.api("POST", "/files", content=b"tar", headers=tar)).json()["hash"]
    version = await owner.post(
        f"/organizations/{made['organization_id']}/templateversions",
        {"storage_method": "file", "file_id": file_id, "provisioner": "echo"},
    )

    async def imported() -> bool:
        return bool((await owner.get(f"/templateversions/{version['id']}"))["job"]["status"] == "succeeded")

    await until(imported)
    body = {"name": "plain", "template_version_id": version["id"]}
    template = await owner.post(f"/organizations/{made['organization_id']}/templates", body)
    return owner, template["id"]


@asynccontextmanager
async def site(url: str, count: int = 1, **changes: Any) -> AsyncIterator[Site]:
    """Run replicas in this process, set up and ready."""
    replicas = [Replica(settings_for(url, **changes)) for _ in range(count)]
    async with AsyncExitStack() as stack:
        for replica in replicas:
            stack.push_async_callback(replica.stop)
        await asyncio.gather(*(replica.start() for replica in replicas))
        http = await stack.enter_async_context(httpx.AsyncClient(timeout=30, trust_env=False))
        owner, template = await set_up(Client(http, replicas[0].services.settings.access_url))
        yield Site(replicas, owner, template)


class Process:
    """One replica as the process a user starts."""

    def __init__(self, url: str, folder: Path, *, scale: float = 0.1, bugs: str = "") -> None:
        self.port = free_port()
        self.base = f"http://127.0.0.1:{self.port}"
        self.log = folder / f"coder-{self.port}.log"
        environ = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT / "compose"),
            "HOSTNAME": f"coder-{self.port}",
            "CODER_HTTP_ADDRESS": f"127.0.0.1:{self.port}",
            "CODER_ACCESS_URL": self.base,
            "CODER_DERP_SERVER_RELAY_URL": self.base,
            "CODER_PG_CONNECTION_URL": url,
            "STANDIN_TIME_SCALE": str(scale),
            "STANDIN_BUGS": bugs,
        }
        with self.log.open("wb") as log:
            command = (sys.executable, "-m", "standin", "server")
            self.popen = subprocess.Popen(command, env=environ, stderr=log, stdin=subprocess.DEVNULL)

    async def ready(self, http: httpx.AsyncClient) -> None:
        async def healthy() -> bool:
            assert self.popen.poll() is None, self.log.read_text()
            try:
                return (await http.get(f"{self.base}/healthz")).status_code == 200
            except httpx.TransportError:
                return False

        await until(healthy, seconds=30)

    async def exit_code(self) -> int:
        async def ended() -> bool:
            return self.popen.poll() is not None

        await until(ended)
        return int(self.popen.returncode)


@contextmanager
def processes(count: int, url: str, folder: Path, **options: Any) -> Iterator[list[Process]]:
    """Start replicas at once; none survives the block."""
    started: list[Process] = []
    try:
        started.extend(Process(url, folder, **options) for _ in range(count))
        yield started
    finally:
        for process in started:
            process.popen.kill()
            process.popen.wait()


class Relay:
    """A TCP path to PostgreSQL that can refuse, cut or swallow."""

    def __init__(self, url: str) -> None:
        self._target = int(url.rsplit(":", 1)[1].split("/", maxsplit=1)[0])
        self.port = free_port()
        self.url = url.replace(f":{self._target}/", f":{self.port}/")
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._passes = asyncio.Event()
        self._passes.set()

    async def up(self) -> None:
        self._server = await asyncio.start_server(self._carry, "127.0.0.1", self.port)

    async def down(self) -> None:
        """Refuse new connections and cut the open ones."""
        self._passes.set()
        if self._server is not None:
            await stop_listening(self._server)
        for writer in tuple(self._writers):
            writer.transport.abort()
        if self._server is not None:
            await self._server.wait_closed()
        self._server = None

    def swallow(self, *, on: bool) -> None:
        if on:
            self._passes.clear()
        else:
            self._passes.set()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        both = {writer}
        self._writers.add(writer)  # before anything is waited for: a cut that comes meanwhile is for this one too
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target)
            both.add(far_writer)
            self._writers.add(far_writer)
            pumps = [self._pump(reader, far_writer), self._pump(far_reader, writer)]
            await asyncio.gather(*pumps, return_exceptions=True)
        finally:
            for one in both:
                one.transport.abort()
            self._writers -= both

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        try:
            while data := await source.read(65536):
                await self._passes.wait()
                sink.write(data)
                await sink.drain()
        finally:
            sink.transport.abort()


async def frames(socket: ClientConnection, count: int) -> list[Any]:
    """Read frames, each within twenty seconds."""
    return [json.loads(await asyncio.wait_for(socket.recv(), 20)) for _ in range(count)]
