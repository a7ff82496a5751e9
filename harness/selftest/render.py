"""A selftest as text, as JSON, and its declarations as the tables of docs/selftest.md.

`python -m harness.selftest.render docs/selftest.md` writes those tables into the file, between their marks.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from harness import discover
from harness.selftest.mirrors.base import mirrors
from harness.selftest.rows import Row, exit_code

if TYPE_CHECKING:
    from collections.abc import Sequence

MARKS = ("<!-- made by python -m harness.selftest.render -->", "<!-- end -->")
_HEAD = ("", "kind", "name", "scenario", "stack", "expected", "got", "first red", "s", "run directory")


def table(rows: Sequence[Row], planned: int) -> str:
    """One line per row, below it in what it is not as declared, and a summary."""
    cells = [_HEAD, *(_cells(row) for row in rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(_HEAD))]
    lines = ["  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in cells]
    out = [lines[0]]
    for row, line in zip(rows, lines[1:], strict=True):
        out += [line] if row.ok else [line, f"   {row.said}"]
    return "\n".join([*out, summary(rows, planned)]) + "\n"


def _cells(row: Row) -> tuple[str, ...]:
    ends = (row.expected, row.got, row.first or "-", f"{row.seconds:.0f}", row.directory or "-")
    return ("✔" if row.ok else "✘", row.kind, row.name, row.scenario, row.stack, *ends)


def summary(rows: Sequence[Row], planned: int) -> str:
    """How many of each kind are as declared."""
    parts = []
    for kind, many in (("bug", "bugs"), ("twin", "runs of twins"), ("mirror", "mirrors")):
        mine = [row for row in rows if row.kind == kind]
        if mine:
            parts.append(f"{sum(row.ok for row in mine)} of {len(mine)} {many}")
    left = f", {planned - len(rows)} not played" if len(rows) < planned else ""
    took = sum(row.seconds for row in rows)
    return f"as declared: {', '.join(parts) or 'nothing was played'}{left}; {took / 60:.1f} min"


def as_json(rows: Sequence[Row], planned: int) -> str:
    """Stable keys, one object."""
    data = {"v": 1, "ok": exit_code(rows) == 0, "planned": planned, "rows": [row.to_json() for row in rows]}
    return json.dumps(data, indent=1, sort_keys=True) + "\n"


def declarations() -> str:
    """What scenarios and mirrors declare, as two tables, and what no bug stands for yet."""
    known = discover.scenarios()
    lines = ["| scenario | bug | breaks first | twin, which must not | settings | stack |", "|---|---|---|---|---|---|"]
    for name, scenario in sorted(known.items()):
        for red in scenario.red_by:
            settings = ", ".join(f"{k}={v}" for k, v in sorted(red.settings.items()))
            lines.append(
                f"| {name} | {red.bug} | {red.objective} | {red.twin or '-'} | {settings or '-'} | {'fake' if red.modelled else 'any'} |"
            )
    bare = sorted(name for name, scenario in known.items() if not scenario.red_by)
    first = {red.objective.partition(" ")[0] for scenario in known.values() for red in scenario.red_by}
    names = {cls.name for cls in discover.objectives().values()}  # type: ignore[attr-defined]
    idle = sorted(name for name in names if not any(title.startswith(name) for title in first))
    lines += ["", f"Scenarios without a seeded bug: {', '.join(bare) or 'none'}."]
    lines += [
        f"Objectives that no seeded bug breaks first: {', '.join(idle) or 'none'}. Each has a saved run that fails it."
    ]
    lines += ["", "| mirror | what is broken | what notices | stack |", "|---|---|---|---|"]
    lines += [f"| {m.name} | {m.breaks} | {m.caught_by} | fake |" for m in mirrors()]
    return "\n".join(lines) + "\n"


def written_into(text: str) -> str:
    """Replace what stands between the marks."""
    before, begin, rest = text.partition(MARKS[0])
    _, end, after = rest.partition(MARKS[1])
    return f"{before}{begin}\n{declarations()}{end}{after}"


if __name__ == "__main__":
    for file in map(Path, sys.argv[1:]):
        file.write_text(written_into(file.read_text()))
