from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import pytest
from fake_runs import Played, play

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture(scope="session")
def played(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], Played]:
    """Play a scenario with some bugs, once per session."""

    @cache
    def get(scenario: str, bugs: str = "", settings: tuple[tuple[str, str], ...] = ()) -> Played:
        return play(tmp_path_factory.mktemp("played") / "run", scenario, bugs=bugs, **dict(settings))

    return get
