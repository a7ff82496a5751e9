from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import freezes
import pytest
import stalled
import together as side_by_side

if TYPE_CHECKING:
    from collections.abc import Iterator
    from concurrent.futures import Future


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.alone)


@pytest.fixture(scope="session")
def _apart(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Future]]:
    """Runs that mostly wait and disturb nobody: they go side by side, each with processes of its own."""
    folder = tmp_path_factory.mktemp("apart")
    with ThreadPoolExecutor() as pool:
        yield {
            "together": pool.submit(side_by_side.run, folder / "together"),
            "meter": pool.submit(freezes.of_meter, folder / "meter", 1.0, 1.0),
            "load": pool.submit(freezes.of_load, folder / "load", 0.7, 0.8),
            "stalled": pool.submit(stalled.run, folder / "stalled", 3),
        }


@pytest.fixture(scope="session")
def together(_apart: dict[str, Future]) -> side_by_side.Together:
    return _apart["together"].result()


@pytest.fixture(scope="session")
def metered(_apart: dict[str, Future]) -> freezes.Frozen:
    return _apart["meter"].result()


@pytest.fixture(scope="session")
def loaded(_apart: dict[str, Future]) -> freezes.Frozen:
    return _apart["load"].result()


@pytest.fixture(scope="session")
def stopped(_apart: dict[str, Future]) -> stalled.Stalled:
    return _apart["stalled"].result()
