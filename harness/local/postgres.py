"""PostgreSQL from the wheel's binaries: an initdb template in the cache, a private copy for each run.

As root the server runs as `nobody` with the right to read and search folders (`setpriv`), so that it finds its own
binaries wherever they are installed; nothing on the way is opened to others. It stops by SIGQUIT: SIGKILL would leave
System V shared memory behind.
"""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
from contextlib import suppress
from typing import TYPE_CHECKING

import anyio.to_thread

from harness import tools
from harness.errors import NotReady
from harness.local.process import LocalProcess, Site, accepts, clean_env
from harness.safety.spec import Spec
from harness.stack import Address

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

NOBODY = 65534
USER = "coder"
_FORMAT = "1"
_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "100",
    "dynamic_shared_memory_type": "mmap",  # inside the data folder, never in /dev/shm
    "shared_buffers": "32MB",
    "logging_collector": "off",
}


def as_server(argv: Sequence[str]) -> tuple[str, ...]:
    """Command line that runs `argv` without root's identity; itself when we are not root."""
    if os.geteuid() != 0:
        return tuple(argv)
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        raise NotReady(
            "running as root needs setpriv (util-linux) to start PostgreSQL as nobody; install it or use another user"
        )
    caps = ("--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search")
    return (setpriv, f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", *caps, "--pdeathsig", "QUIT", *argv)


def template(cache: Path) -> tuple[Path, str]:
    """The initdb template and the password of its superuser; made on first use (1 to 2 s), then shared."""
    folder = cache / f"postgres-{_FORMAT}-{os.geteuid()}"
    data, secret = folder / "data", folder / "password"
    if (data / "PG_VERSION").is_file() and secret.is_file():
        return data, secret.read_text()
    with tools.workshop(cache) as work:
        draft = work / "postgres"
        draft.mkdir(mode=0o700)
        _initdb(draft)
        with suppress(OSError):  # another run made it meanwhile
            draft.rename(folder)
    return data, secret.read_text()


def _initdb(draft: Path) -> None:
    secret = draft / "password"
    secret.touch(mode=0o600)
    secret.write_text(secrets.token_urlsafe(24))
    data = draft / "data"
    data.mkdir(mode=0o700)
    if os.geteuid() == 0:
        for path in (draft, secret, data):
            os.chown(path, NOBODY, NOBODY)
    initdb = [str(tools.postgres_bin() / "initdb"), "-D", str(data), "-U", USER, "--auth=scram-sha-256"]
    argv = as_server([*initdb, f"--pwfile={secret}", "--no-sync", "--encoding=UTF8", "--locale=C", "--wal-segsize=4"])
    try:
        done = subprocess.run(argv, env=clean_env(), cwd="/", capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NotReady(f"initdb did not run: {error}") from error
    if done.returncode:
        raise NotReady(f"initdb failed: {' | '.join(done.stderr.strip().splitlines()[-3:])}")


def _copy(source: Path, to: Path) -> None:
    # cp keeps owner and modes and can share blocks; a Python loop over 1000 files is ten times slower.
    subprocess.run(["cp", "-a", "--reflink=auto", str(source), str(to)], check=True, capture_output=True)  # noqa: S607


async def start(site: Site, port: int, timeout_s: float) -> tuple[LocalProcess, str]:
    """Start the database of a run; return the target and its connection string (holds the password)."""
    source, password = await anyio.to_thread.run_sync(template, site.context.cache)
    data = site.temp / "postgres"
    await anyio.to_thread.run_sync(_copy, source, data)
    options = [part for key, value in _SETTINGS.items() for part in ("-c", f"{key}={value}")]
    argv = as_server([str(tools.postgres_bin() / "postgres"), "-D", str(data), "-p", str(port), *options])
    await site.spawn(Spec("postgres", argv, clean_env(), stop_signal="QUIT", death_signal="QUIT"))
    address = Address("127.0.0.1", port)

    async def ready() -> bool:
        # The last line of postmaster.pid says "ready" once recovery is over; before that it takes connections to refuse them.
        try:
            lines = (data / "postmaster.pid").read_text().splitlines()
        except OSError:
            return False
        return len(lines) >= 8 and lines[7].strip() == "ready" and await accepts(address)

    await site.until("postgres", ready, timeout_s, "ready for connections")
    return LocalProcess(
        "postgres", "database", address, site
    ), f"postgres://{USER}:{password}@127.0.0.1:{port}/postgres"
