from __future__ import annotations

import probe_servers as misbehaving
import pytest


@pytest.fixture
def servers():
    with misbehaving.servers() as running:
        yield running
