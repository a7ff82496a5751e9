from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from load_server import Api, serve

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def api() -> Iterator[Api]:
    yield from serve()


@pytest.fixture(scope="module")
def module_api() -> Iterator[Api]:
    yield from serve()
