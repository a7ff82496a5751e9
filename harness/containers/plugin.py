"""The Compose plugin: where it is, and how it is built where it is missing.

It is a program of its own and needs no `docker` command beside it.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Final

from harness import tools
from harness.errors import NotReady

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

VERSION: Final = "2.29.7"
"""What is built where there is none; `!reset`, `!override` and `configs.content` need 2.24."""
_MODULE: Final = f"github.com/docker/compose/v2/cmd@v{VERSION}"
_SYSTEM: Final = (
    "/usr/local/lib/docker/cli-plugins",
    "/usr/local/libexec/docker/cli-plugins",
    "/usr/lib/docker/cli-plugins",
    "/usr/libexec/docker/cli-plugins",
)
_NAME: Final = "docker-compose"


def find(cache: Path, environ: Mapping[str, str] = os.environ) -> Path | None:
    """The plugin where Docker's own command would find it, on PATH, or in the cache."""
    return next((path for path in _places(cache, environ) if os.access(path, os.X_OK) and path.is_file()), None)


def needed(cache: Path) -> Path:
    """The plugin; raises NotReady with the fix."""
    found = find(cache)
    if found is None:
        raise NotReady(
            "Docker's Compose plugin is missing: install docker-compose-plugin, "
            "or run `coder-chaos doctor --build-compose` to build it into the cache"
        )
    return found


def build(cache: Path, say: Callable[[str], None]) -> Path:
    """Build the plugin from its Go module into the cache (two to three minutes), unless there is one already."""
    found = find(cache)
    if found is not None:
        return found
    say(f"building the Compose plugin {VERSION} from its Go module (once, two to three minutes)")
    return tools.go_install(cache, say, _MODULE, "cmd", _cached(cache))


def _cached(cache: Path) -> Path:
    return cache / f"compose-{VERSION}" / _NAME


def _places(cache: Path, environ: Mapping[str, str]) -> Iterator[Path]:
    home = Path(environ.get("DOCKER_CONFIG") or Path(environ.get("HOME") or "/") / ".docker")
    for folder in (home / "cli-plugins", *map(Path, _SYSTEM)):
        yield folder / _NAME
    # On PATH, `docker-compose` may be the old Python program, which knows nothing of what our files say.
    on_path = shutil.which(_NAME, path=environ.get("PATH"))
    if on_path is not None and _is_elf(Path(on_path)):
        yield Path(on_path)
    yield _cached(cache)


def _is_elf(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(4) == b"\x7fELF"
    except OSError:
        return False
