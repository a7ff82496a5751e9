"""One PostgreSQL server per session, an empty schema per test."""

import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from standin_postgres import ROOT, Postgres, chown_for_postgres

sys.path.insert(0, str(ROOT / "compose"))


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    folder = Path(tempfile.mkdtemp(prefix="standin-pg-"))
    server: Postgres | None = None
    try:
        chown_for_postgres(folder)
        server = Postgres(folder)
        server.wait()
        yield server
    finally:
        if server is not None:
            server.stop()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def database(postgres: Postgres) -> str:
    return postgres.create_schema()


@pytest.fixture
def empty_database(postgres: Postgres) -> str:
    return postgres.create()
