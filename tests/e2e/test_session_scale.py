"""5,000 sessions on a whole stack: the ledger is complete, counts itself, and knows why each one was lost."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from session_scale import scale

from harness.series import Interval

if TYPE_CHECKING:
    from pathlib import Path

COUNT = 5000


@pytest.mark.e2e
@pytest.mark.soak
def test_the_ledger_holds_at_scale(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = asyncio.run(scale(tmp_path, COUNT))
    with capsys.disabled():
        print("", *found.lines(), sep="\n  ")  # noqa: T201
    assert found.opened == COUNT
    assert found.back == COUNT
    assert found.ledger.checkpoints > 10
    assert found.ledger.disagreement is None
    drops = [d for p in found.ledger.populations.values() for d in p.dropped(Interval(found.killed_at, 1 << 62))]
    victims = [d for d in drops if d.upstream == found.victim_port]
    assert len(victims) == found.victims
    assert found.victims > COUNT / 6
    assert {d.cause for d in victims} <= {"eof", "reset"}
    for drop in drops:
        assert drop.back is not None
        assert drop.parts.total == drop.back - drop.last
        assert drop.upstream_after not in (0, found.victim_port)
    assert not any(p.drops[0].at < found.killed_at for p in found.ledger.populations.values() if p.drops)
