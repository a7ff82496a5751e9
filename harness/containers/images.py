"""Images made here, for machines that reach no image registry: a Debian base, then one small layer per part.

Each is named after its contents, so one that exists is never made again, and a change makes another one. They stay, as
any image does; `coder-chaos-image` on them says whose they are.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
from importlib import metadata
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from harness import tools
from harness.discover import data_root
from harness.errors import NotReady

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from harness.clients.docker import Docker

LABEL: Final = "coder-chaos-image"
"""On images. Containers inherit the labels of their image, so it must not start like the labels of members."""
PARTS: Final = ("postgres", "toxiproxy", "caddy", "coder")
_SUITE: Final = "bookworm"
_WHEELS: Final = ("aiohttp", "anyio", "asyncpg", "prometheus_client")
"""What the stand-in imports."""
_PLATFORMS: Final = ("manylinux_2_17", "manylinux2014", "manylinux_2_28", "manylinux_2_34")
_BUILD_S: Final = 900


class Shelf:
    """The images of one engine."""

    def __init__(self, docker: Docker, cache: Path, say: Callable[[str], None]) -> None:
        self._docker = docker
        self._cache = cache
        self._say = say
        self._contexts = data_root() / "compose" / "images"

    def ensure(self) -> dict[str, str]:
        """Make what is missing (about a minute and a half in all) and give the image of each part; raises NotReady."""
        # Both use the one workshop of this process: one after the other.
        toxiproxy = tools.toxiproxy(self._cache, self._say)
        base = self._base()
        return {
            "postgres": self._layer("postgres", base, []),
            "toxiproxy": self._layer("toxiproxy", base, [("toxiproxy-server", toxiproxy)]),
            "caddy": self._layer("caddy", base, [("caddy", tools.caddy())]),
            "coder": self._coder(base),
        }

    def _base(self) -> str:
        packages = (self._contexts / "packages").read_text().split()
        name = f"chaos-base:{_digest([_SUITE.encode(), ' '.join(packages).encode()])}"
        if self._docker.has_image_now(name):
            return name
        self._say(f"making the base image from Debian's packages, once: {', '.join(packages)}")
        with tools.workshop(self._cache) as work:
            tree = work / "base.tar"
            _run(_mmdebstrap(packages, tree), "make the base image", dict(os.environ))
            self._docker.import_image_now(tree, name, {LABEL: "base"})
        return name

    def _coder(self, base: str) -> str:
        root = data_root() / "compose" / "standin"
        pins = [f"{name}=={metadata.version(name)}" for name in _closure(_WHEELS)]
        name = self._name("coder", base, [*_tree(root), "\n".join(pins).encode()])
        if self._docker.has_image_now(name):
            return name
        with tools.workshop(self._cache) as work:
            site = work / "site"
            self._say("fetching the stand-in's wheels for its image")
            _run(_pip(pins, site), "fetch the stand-in's wheels", dict(os.environ))
            return self._build(name, "coder", base, [("standin", root), ("site", site)])

    def _layer(self, part: str, base: str, extra: list[tuple[str, Path]]) -> str:
        name = self._name(part, base, [path.read_bytes() for _, path in extra])
        return name if self._docker.has_image_now(name) else self._build(name, part, base, extra)

    def _name(self, part: str, base: str, more: Iterable[bytes]) -> str:
        return f"chaos-{part}:{_digest([base.encode(), *_tree(self._contexts / part), *more])}"

    def _build(self, name: str, part: str, base: str, extra: list[tuple[str, Path]]) -> str:
        self._say(f"building the image {name}")
        with tarfile.open(fileobj=(context := BytesIO()), mode="w") as tar:
            for path in sorted((self._contexts / part).iterdir()):
                tar.add(path, path.name, filter=_plain)
            for inside, path in extra:
                tar.add(path, inside, filter=_plain)
        context.seek(0)
        self._docker.build_image_now(context, name, {"BASE": base}, {LABEL: part})
        return name


def _digest(parts: Iterable[bytes]) -> str:
    whole = hashlib.sha256()
    for part in parts:
        whole.update(hashlib.sha256(part).digest())
    return whole.hexdigest()[:16]


def _tree(folder: Path) -> list[bytes]:
    """Names and contents of the files of a folder, in an order that is always the same."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return [part for path in files for part in (str(path.relative_to(folder)).encode(), path.read_bytes())]


def _plain(info: tarfile.TarInfo) -> tarfile.TarInfo | None:
    """Take a file as root's, readable by all, without a time; leave out compiled Python."""
    if "__pycache__" in info.name.split("/"):
        return None
    info.uid = info.gid = info.mtime = 0
    info.uname = info.gname = ""
    info.mode |= 0o555 if info.isdir() else 0o444
    return info


def _mmdebstrap(packages: list[str], to: Path) -> list[str]:
    program = shutil.which("mmdebstrap")
    if program is None:
        raise NotReady("mmdebstrap is missing, which makes the base image of --offline: apt-get install mmdebstrap")
    if os.geteuid() != 0:
        raise NotReady("the base image of --offline is made as root only: run it once as root, then as anyone")
    lists = [Path("/etc/apt/sources.list"), *sorted(Path("/etc/apt/sources.list.d").glob("*"))]
    return [
        program,
        "--variant=minbase",
        "--quiet",
        "--aptopt=Apt::Install-Recommends false",
        f"--include={','.join(packages)}",
        _SUITE,
        str(to),
        *[str(path) for path in lists if path.is_file() and path.suffix in (".list", ".sources")],
    ]


def _pip(pins: list[str], to: Path) -> list[str]:
    """Fetch wheels for the Python of the image, which is the one of Debian, whatever runs here."""
    platforms = [f"--platform={name}_{os.uname().machine}" for name in _PLATFORMS]
    version = ["--python-version=3.11", "--implementation=cp", "--only-binary=:all:", "--no-deps", "--no-compile"]
    return [sys.executable, "-m", "pip", "install", "--quiet", *version, *platforms, "--target", str(to), *pins]


def _closure(names: Iterable[str]) -> list[str]:
    """Distributions that these need, with themselves, as they are installed here."""
    from packaging.requirements import Requirement  # noqa: PLC0415 - only for a build

    found, todo = set[str](), list(names)
    while todo:
        name = todo.pop()
        if name in found:
            continue
        found.add(name)
        for text in metadata.requires(name) or []:
            need = Requirement(text)
            if need.marker is None or need.marker.evaluate({"python_version": "3.11", "extra": ""}):
                todo.append(need.name)
    return sorted(found)


def _run(argv: list[str], what: str, env: dict[str, str]) -> None:
    try:
        done: Any = subprocess.run(argv, env=env, capture_output=True, text=True, timeout=_BUILD_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NotReady(f"could not {what}: {error}") from error
    if done.returncode:
        tail = " | ".join((done.stderr or done.stdout).strip().splitlines()[-3:])
        raise NotReady(f"could not {what}: {tail}")
