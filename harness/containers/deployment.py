"""A Compose project of a run's own: written down before it exists, brought up, taken down."""

from __future__ import annotations

import os
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Final

import anyio
import anyio.to_thread

from harness import events as ev
from harness.clients.project import Project, Unreachable
from harness.containers import images, rendering
from harness.errors import HarnessError, NotReady
from harness.safety import undo
from harness.variables import PASSED

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence
    from pathlib import Path

    from harness.clients.docker import Docker
    from harness.local.process import Site
    from harness.stack import StackRequest

_DOWN_S: Final = 20.0
_TAIL: Final = 8


class Deployment:
    """The project `chaos-<run>` on an engine."""

    def __init__(self, site: Site, request: StackRequest, docker: Docker, plugin: Path) -> None:
        self.name = f"chaos-{site.registration.run}"
        self._site = site
        self._request = request
        self._docker = docker
        self._project = Project(plugin, docker.path, self.name, site.temp)

    @asynccontextmanager
    async def opened(self, ports: Sequence[int], password: str) -> AsyncIterator[None]:
        """Be up, with the parts of `rendering.inside` at `ports`; raises NotReady with the cause."""
        site, step = self._site, undo.remove_project(self._docker.path, self.name)
        site.registration.projects.append(step)
        site.registration.update()
        await site.keeper.project(self._docker.path, self.name)
        self.record()
        try:
            await self._start(ports, password)
            if words := await self._last_words():
                raise NotReady(f"the stack came up in part{words}")
            yield
        finally:
            # In good order, for a while: what is left then, the keeper removes.
            with anyio.CancelScope(shield=True), anyio.move_on_after(_DOWN_S), suppress(HarnessError):
                await self._project.down()

    def record(self) -> None:
        """Write down, in the events of the run that is served now, that it exists."""
        self._site.context.emit(ev.ResourceCreated(what="project", name="compose", ref=self.name))

    async def _start(self, ports: Sequence[int], password: str) -> None:
        """Bring it up, with images made here where it was asked for or no registry is reachable."""
        (self._site.temp / "run.yaml").write_text(rendering.overlay(self._request, ports))
        passed = {key: os.environ[key] for key in PASSED if os.environ.get(key)}
        env = passed | rendering.variables(self._request, password, ports[0])
        if not self._request.offline:
            try:
                await self._up(env, offline=False)
            except Unreachable as error:
                if "CODER_IMAGE" in passed:
                    raise
                self._site.context.say(f"{error}; going on as with --offline: the stand-in takes Coder's place")
            else:
                return
        shelf = images.Shelf(self._docker, self._site.context.cache, self._site.context.say)
        made = await anyio.to_thread.run_sync(shelf.ensure)
        names = {"CODER_IMAGE" if part == "coder" else f"CHAOS_{part.upper()}_IMAGE": made[part] for part in made}
        await self._up(names | env, offline=True)

    async def _up(self, env: Mapping[str, str], *, offline: bool) -> None:
        files = [*rendering.files(self._request, offline=offline), self._site.temp / "run.yaml"]
        await self._project.render(files, rendering.base(), env)
        try:
            await self._project.up()
        except Unreachable:
            raise
        except NotReady as error:
            raise NotReady(f"{error}{await self._last_words()}") from error

    async def _last_words(self) -> str:
        """Last lines of the services that ended while the stack came up."""
        words = ""
        for found in await self._docker.containers(self.name):
            state = found["State"]
            if not state["Running"] and state["ExitCode"]:
                service = found["Config"]["Labels"]["com.docker.compose.service"]
                lines = await self._docker.tail(found["Id"], _TAIL)
                words += "\n  ".join(
                    [f"; {service} died while starting, with {state['ExitCode']}. Its last lines:", *lines]
                )
        return words
