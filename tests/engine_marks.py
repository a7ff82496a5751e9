"""Marks of tests that need a Docker engine: without one they are skipped, and the last line says why."""

from __future__ import annotations

import os
from functools import cache

import pytest

from harness.backends import compose
from harness.config import Settings
from harness.errors import NotReady


@cache
def missing() -> str:
    """Why there is no engine to test with, empty where there is one."""
    why = os.environ.get("TEST_NO_ENGINE", "")
    if not why:
        try:
            compose.prepare(Settings().cache_dir, lambda _: None)
        except NotReady as error:
            why = str(error)
    return why


def needs_engine() -> pytest.MarkDecorator:
    return pytest.mark.skipif(bool(missing()), reason=missing() or "there is one")
