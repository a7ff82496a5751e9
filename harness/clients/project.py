"""A Compose project of ours, brought up and down by Testcontainers. The only importer of it."""

from __future__ import annotations

import logging
import os
import re
import shlex
import shutil
import signal
import subprocess
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import anyio
import anyio.to_thread

from harness.errors import NotReady
from harness.safety import proc

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from testcontainers.compose import DockerCompose

_FILE: Final = "compose.yaml"
_RENDER_S: Final = 60
_SAID: Final = (
    (r"port is already allocated|address already in use", "a port is taken"),
    (r"no space left on device", "the disk of the Docker engine is full"),
    (r"no matching manifest|does not match the (?:specified|detected) .*platform", "an image is of another platform"),
    (
        r"pull access denied|manifest unknown|not found: manifest|No such image|repository does not exist",
        "an image is missing",
    ),
    (r"toomanyrequests", "the image registry has had enough of us; try later, or add --offline"),
)
"""What an engine says that has a cause which people know by another name."""
_UNREACHABLE: Final = (
    r"i/o timeout|no such host|connection refused|TLS handshake|network is unreachable|context deadline"
)


class Unreachable(NotReady):
    """No image registry answers."""


class Project:
    """The project `name`: its rendered file and its launcher are in `folder`, private to the run."""

    def __init__(self, plugin: Path, engine: Path, name: str, folder: Path) -> None:
        self.name = name
        self._plugin = plugin
        self._engine = engine
        self._folder = folder
        self._pid = folder / "compose.pid"
        self._launcher = folder / "docker-compose"

    async def render(self, files: Sequence[Path], base: Path, env: Mapping[str, str]) -> None:
        """Merge Compose files into one, as `env` fills them in; raises NotReady with what is wrong in them."""
        self._write_launcher(env)
        argv = [str(self._launcher), "compose", "--project-name", self.name, "--project-directory", str(base)]
        argv += [part for file in files for part in ("--file", str(file))]

        def work() -> str:
            done = subprocess.run(
                [*argv, "config"], capture_output=True, text=True, timeout=_RENDER_S, check=False, cwd=self._folder
            )
            if done.returncode:
                raise NotReady(f"the Compose files of the stack: {_last(done.stderr)}")
            return done.stdout

        text = await self._run(work)
        path = self._folder / _FILE
        path.touch(mode=0o600)  # it holds the password
        path.write_text(text)

    async def up(self) -> None:
        """Bring it up; raises NotReady with the cause."""
        await self._run(lambda: named("bring up the stack", self._compose().start))

    async def down(self) -> None:
        """Take it down with its volumes; raises NotReady."""
        await self._run(lambda: named("take down the stack", self._compose().stop))

    async def _run(self, work: Any) -> Any:
        """Run in a thread; on being cancelled, end the plugin first, or it would go on making what is being removed."""
        try:
            return await anyio.to_thread.run_sync(work, abandon_on_cancel=True)
        except anyio.get_cancelled_exc_class():
            with suppress(OSError, ValueError, ProcessLookupError):
                process = proc.ref(int(self._pid.read_text()))
                if any(process == below for below in proc.descendants(os.getpid())):
                    proc.send(process, signal.SIGKILL)
            raise

    def _compose(self) -> DockerCompose:
        from testcontainers.compose import DockerCompose  # noqa: PLC0415 - heavy

        # It logs what it raises, line by line; people get ours.
        logging.getLogger("testcontainers.compose.compose").disabled = True
        return DockerCompose(self._folder, _FILE, wait=False, docker_command_path=str(self._launcher))

    def _write_launcher(self, env: Mapping[str, str]) -> None:
        """Write what stands for the `docker` command: the plugin needs no other, and nothing of the caller reaches it."""
        clean = {"PATH": os.environ.get("PATH", ""), "HOME": str(self._folder), "DOCKER_HOST": f"unix://{self._engine}"}
        given = [f"{key}={value}" for key, value in {**clean, **env}.items()]
        setpriv = shutil.which("setpriv")
        guard = [setpriv, "--pdeathsig", "KILL"] if setpriv else []
        argv = shlex.join(["env", "-i", *given, *guard, str(self._plugin)])
        self._launcher.touch(mode=0o700)
        self._launcher.write_text(
            f'#!/bin/sh\necho $$ >{shlex.quote(str(self._pid))}\nshift # "compose"\nexec {argv} "$@"\n'
        )


def named(what: str, work: Callable[[], object]) -> None:
    """Do something with the plugin; raises NotReady, or Unreachable, with the cause by the name that people know."""
    try:
        work()
    except OSError as error:
        raise NotReady(f"could not {what}: {error}") from error
    except subprocess.CalledProcessError as error:
        said = _last((error.stderr or b"").decode(errors="replace"))
        if re.search(_UNREACHABLE, said):
            raise Unreachable(f"no image registry is reachable: {said}") from error
        cause = next((f"{name}: " for pattern, name in _SAID if re.search(pattern, said)), "")
        raise NotReady(f"could not {what}: {cause}{said}") from error


def _last(text: str) -> str:
    lines = [line.strip() for line in text.strip().splitlines() if line.strip()]
    wrong = [
        line for line in lines if re.search(r"error|denied|fail|refused|timeout|invalid|no space", line, re.IGNORECASE)
    ]
    return " | ".join((wrong or lines)[-2:]) or "it said nothing"
