"""What a modelled start does to the schema before it serves: nothing, or what a seeded bug makes of it. Wall seconds."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.fake.life import FakeProcess
    from harness.fake.store import Store

VERSION = 1
_WORK_S = 5.0
_LEGAL_S = 1.0
_USED_S = 3.0
_APART_S = 0.3
"""Processes that are started together do not reach the database in one moment."""


def migrate(process: FakeProcess, store: Store, how: str, then: Callable[[], None]) -> None:
    """Call `then` in the process's time once its migration is done; a start that must give up ends the process."""
    schema, life, now = store.schema, process.life, asyncio.get_running_loop().time()
    if not schema.rows:
        schema.rows.append([VERSION, False])
    in_use = any(now - member.since > _USED_S for member in store.members.values())
    if not how or not in_use:
        then()
    elif how == "locked":
        begins = max(now, schema.free_at)
        schema.free_at = begins + _LEGAL_S
        life.after(schema.free_at - now, then)
    else:
        life.after(
            _APART_S * process.number, lambda: (_unlocked if how == "unlocked" else _dirty)(process, store, then)
        )


def _unlocked(process: FakeProcess, store: Store, then: Callable[[], None]) -> None:
    """Replace the row that was read, whatever is there by then."""
    rows = store.schema.rows
    read = rows[0]

    def finish() -> None:
        rows[:] = [row for row in rows if row is not read] + [[VERSION, False]]
        then()

    process.life.after(_WORK_S, finish)


def _dirty(process: FakeProcess, store: Store, then: Callable[[], None]) -> None:
    """Mark the row while there is work; who finds it marked gives up."""
    row = store.schema.rows[0]
    if row[1]:
        process.take("KILL")
        return
    row[1] = True

    def finish() -> None:
        row[1] = False
        then()

    process.life.after(_WORK_S, finish)
