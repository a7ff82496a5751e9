"""The Docker engine, through the `docker` package. The only importer of it.

Every call runs in a thread with a timeout; foreign exceptions become StackError or, for what the user can put right
before a run, NotReady.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import anyio.to_thread
import docker
import docker.errors
import requests
import urllib3

from harness.errors import NotReady, StackError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from io import BytesIO

VERSION: Final = "1.40"
"""API of Docker 19.03; the same as in `harness.safety.engine`."""
_DEFAULT: Final = "unix:///var/run/docker.sock"
_TIMEOUT_S: Final = 60
_PROJECT: Final = "com.docker.compose.project"
_FOREIGN: Final = (docker.errors.DockerException, requests.RequestException, urllib3.exceptions.HTTPError, OSError)


def socket_path(environ: Mapping[str, str] = os.environ) -> Path:
    """Socket of the engine that DOCKER_HOST names; raises NotReady for one on another machine."""
    host = environ.get("DOCKER_HOST") or _DEFAULT
    if not host.startswith("unix://"):
        raise NotReady(f"DOCKER_HOST is {host}: only an engine on this machine will do, behind a unix:// socket")
    return Path(host.removeprefix("unix://"))


class Docker:
    """One engine. All methods raise StackError with what was asked and what it said."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._api = docker.APIClient(base_url=f"unix://{path}", version=VERSION, timeout=_TIMEOUT_S)

    def version_now(self) -> str:
        """Version of the engine. Blocks for a moment."""
        with self._named("tell its version"):
            return str(self._api.version()["Version"])

    async def inspect(self, container: str) -> dict[str, Any]:
        """What the engine knows of a container."""
        found: dict[str, Any] = await self._do(
            f"inspect {container[:12]}", lambda: self._api.inspect_container(container)
        )
        return found

    async def containers(self, project: str) -> list[dict[str, Any]]:
        """Every container of a Compose project, also stopped ones, as `inspect` gives them."""

        def work() -> list[dict[str, Any]]:
            rows = self._api.containers(all=True, filters={"label": f"{_PROJECT}={project}"})
            return [self._api.inspect_container(row["Id"]) for row in rows]

        found: list[dict[str, Any]] = await self._do(f"list the containers of {project}", work)
        return found

    async def kill(self, container: str, signal: str) -> None:
        """Send a signal, named without SIG, to the first process of a container; one that does not run is no error."""

        def work() -> None:
            try:
                self._api.kill(container, signal)
            except docker.errors.APIError as error:
                if error.status_code not in (404, 409):
                    raise

        await self._do(f"send SIG{signal} to {container[:12]}", work)

    async def wait(self, container: str) -> int:
        """Wait until a container does not run; gives its exit code."""
        found = await self._do(f"wait for {container[:12]}", lambda: self._api.wait(container, condition="not-running"))
        return int(found["StatusCode"])

    async def pause(self, container: str) -> None:
        """Freeze every process of a container."""
        await self._do(f"pause {container[:12]}", lambda: self._api.pause(container))

    async def unpause(self, container: str) -> None:
        """Let a container go on; one that is not paused is no error."""

        def work() -> None:
            try:
                self._api.unpause(container)
            except docker.errors.APIError as error:
                if "not paused" not in str(error.explanation):
                    raise

        await self._do(f"unpause {container[:12]}", work)

    async def limit_cpu(self, container: str, nano: int) -> None:
        """Allow a container `nano` billionths of a processor."""
        period = 100_000
        quota = max(1000, nano * period // 1_000_000_000)
        await self._do(
            f"limit {container[:12]}",
            lambda: self._api.update_container(container, cpu_quota=quota, cpu_period=period),
        )

    async def tail(self, container: str, lines: int) -> list[str]:
        """Last lines of a container's output."""
        found: bytes = await self._do(f"read {container[:12]}", lambda: self._api.logs(container, tail=lines))
        return found.decode(errors="replace").splitlines()

    async def throttled(self, container: str) -> int:
        """How often the kernel has held a container back, as the engine says; takes a second or two."""
        found = await self._do(
            f"ask for the numbers of {container[:12]}", lambda: self._api.stats(container, stream=False)
        )
        return int(found["cpu_stats"]["throttling_data"]["throttled_periods"])

    def has_image_now(self, name: str) -> bool:
        """Whether an image is there. Blocks."""
        with self._named(f"look for the image {name}"):
            try:
                self._api.inspect_image(name)  # type: ignore[no-untyped-call]
            except docker.errors.ImageNotFound:
                return False
            return True

    def import_image_now(self, tar: Path, name: str, labels: Mapping[str, str]) -> None:
        """Make an image of a tar of a file system. Blocks for seconds."""
        repository, _, tag = name.partition(":")
        with self._named(f"import the image {name}"), tar.open("rb") as file:
            changes = [f"LABEL {key}={value}" for key, value in labels.items()]
            said = str(self._api.import_image_from_data(file, repository=repository, tag=tag, changes=changes))
        if '"error"' in said:
            raise NotReady(f"the Docker engine could not import the image {name}: {said.strip()[-300:]}")

    def build_image_now(
        self, context: BytesIO, name: str, arguments: Mapping[str, str], labels: Mapping[str, str]
    ) -> None:
        """Build an image of a tar with a Dockerfile, without any network. Blocks for seconds; raises NotReady."""
        with self._named(f"build the image {name}"):
            said = self._api.build(
                fileobj=context,
                custom_context=True,
                tag=name,
                buildargs=dict(arguments),
                labels=dict(labels),
                network_mode="none",
                rm=True,
                forcerm=True,
                decode=True,
            )
            for line in said:
                if "error" in line:
                    raise NotReady(f"could not build the image {name}: {line['error'].strip()}")

    def lines(self, container: str, since: float) -> Iterator[tuple[str, bytes]]:
        """Lines of a container's output as they come, each with its timestamp, until it stops; `since` is a Unix time above 0."""
        stream: Any = self._api.logs(container, stream=True, follow=True, timestamps=True, since=since)
        rest = b""
        try:
            for chunk in stream:
                *whole, rest = (rest + chunk).split(b"\n")
                for line in whole:
                    stamp, _, text = line.partition(b" ")
                    yield stamp.decode("ascii", errors="replace"), text + b"\n"
        finally:
            stream.close()

    def events(self, project: str, kind: str, since: float) -> Any:
        """Stream of the events of one kind about the containers of a project, from a Unix time on.

        `close` ends it from any thread.
        """
        filters = {"type": "container", "event": kind, "label": f"{_PROJECT}={project}"}
        with self._named("tell what happens"):
            return self._api.events(decode=True, filters=filters, since=int(since))

    def close(self) -> None:
        """Let go of its connections."""
        self._api.close()

    async def _do(self, what: str, work: Callable[[], Any]) -> Any:
        def named() -> Any:
            with self._named(what):
                return work()

        return await anyio.to_thread.run_sync(named, abandon_on_cancel=True)

    @contextmanager
    def _named(self, what: str) -> Iterator[None]:
        try:
            yield
        except _FOREIGN as error:
            said = error.explanation if isinstance(error, docker.errors.APIError) else error
            raise StackError(f"the Docker engine could not {what}: {said}") from error


def connect(path: Path) -> Docker:
    """Open a client of an engine that answers; raises NotReady, one line, with the fix. Blocks."""
    if not path.exists():
        raise NotReady(f"no Docker engine: {path} does not exist; install Docker and start it, or set DOCKER_HOST")
    if not os.access(path, os.R_OK | os.W_OK):
        raise NotReady(f"no permission on {path}: join its group (`usermod -aG docker USER`) or run as root")
    found = Docker(path)
    try:
        said = found._api.version(api_version=False)  # noqa: SLF001 - the one question that needs no agreed version
    except _FOREIGN as error:
        found.close()
        raise NotReady(f"the Docker engine at {path} does not answer: {error}; is dockerd running?") from error
    newest, oldest = said.get("ApiVersion", "0"), said.get("MinAPIVersion", "0")
    if _number(newest) < _number(VERSION) or _number(oldest) > _number(VERSION):
        found.close()
        raise NotReady(
            f"the Docker engine at {path} serves API {oldest} to {newest}, {VERSION} is needed (Docker 19.03)"
        )
    return found


def _number(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdecimal())
