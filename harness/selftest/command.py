"""The command: choose, play, print. What was played is printed even when it is cut short."""

from __future__ import annotations

import os
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any

from harness import discover
from harness.config import load
from harness.errors import NotReady
from harness.evidence import make_run_dir
from harness.selection import fitting
from harness.selftest import matrix
from harness.selftest.cases import Case, cases
from harness.selftest.mirrors.base import Mirror, mirrors
from harness.selftest.players import player, settings_for
from harness.selftest.render import as_json, table
from harness.selftest.rows import Row, exit_code
from harness.session import say_to_stderr

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

_INTERRUPTED = 130


def run_all(
    expression: str | None,
    output: str,
    flags: Mapping[str, Any],
    pairs: Mapping[str, str],
    out: Callable[..., object],
) -> int:
    """Play what fits the expression, print it with `out`, and give the exit code. Raises UsageError and NotReady."""
    settings = load(os.environ, flags, pairs)
    every, broken = chosen(expression)
    settings_of = partial(settings_for, environ=os.environ, flags=flags, pairs=pairs)
    for case in every:
        settings_of(case)  # a setting that is wrong is said before anything starts
    play = player(settings_of, os.environ, say_to_stderr)
    planned, rows, code = len(every) + len(broken), list[Row](), None

    def folder(name: str) -> Path:
        return make_run_dir(settings.runs_dir, "mirror", name)

    try:
        played = matrix.rows(every, play)
        for row in chain(matrix.mirror_rows(broken, folder), played):
            rows.append(row)
            say_to_stderr(
                f"{len(rows)}/{planned}  {row.kind} {row.name}: {row.got}{'' if row.ok else f'  NOT AS DECLARED: {row.said}'}"
            )
    except KeyboardInterrupt:
        code = _INTERRUPTED
    out(as_json(rows, planned) if output == "json" else table(rows, planned), nl=False)
    return exit_code(rows) if code is None else code


def chosen(expression: str | None) -> tuple[list[Case], list[Mirror]]:
    """Cases and mirrors that fit. Raises UsageError for a broken expression, NotReady when nothing does."""
    fits = fitting(expression) if expression is not None else lambda _: True
    known = cases(discover.scenarios().values())
    found = [c for c in known if fits([c.kind, c.scenario.name, *c.scenario.tags, *c.bugs])]
    broken = [m for m in mirrors() if fits(["mirror", m.name])]
    if not found and not broken:
        raise NotReady(
            f"no row of the selftest fits {expression!r}; try -k bug, -k twin, -k mirror or the name of a scenario"
        )
    return found, broken
