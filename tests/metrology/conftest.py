from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import freezes
import pytest
import stalled
import together as side_by_side

if TYPE_CHECKING:
    from collections.abc import Iterator
    from concurrent.futures import Future


@pytest.fixture(scope="session")
def together(tmp_path_factory: pytest.TempPathFactory) -> side_by_side.Together:
    return side_by_side.run(tmp_path_factory.mktemp("together") / "run")


@pytest.fixture(scope="session")
def _apart(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Future]]:
    """Runs that mostly wait and disturb nobody: they go side by side, each with processes of its own."""
    folder = tmp_path_factory.mktemp("apart")
    with ThreadPoolExecutor() as pool:
        yield {
            "meter": pool.submit(freezes.of_meter, folder / "meter", 1.0, 1.0),
            "stalled": pool.submit(stalled.run, folder / "stalled", 3),
        }


@pytest.fixture(scope="session")
def metered(_apart: dict[str, Future]) -> freezes.Frozen:
    return _apart["meter"].result()


@pytest.fixture(scope="session")
def stopped(_apart: dict[str, Future]) -> stalled.Stalled:
    return _apart["stalled"].result()
