"""Schema clean: after the run the migration table is as it was before it, one row and not dirty."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from harness import events as ev
from harness.verdict import Finding, Status

if TYPE_CHECKING:
    from harness.timeline import RunView

_LIMIT = "1 row, not dirty, the version of the baseline"


@dataclass(frozen=True)
class SchemaClean:
    """The database's migration table at the end: one row, not dirty, of the version it had at the baseline.

    A row too many means that more than one replica migrated; a dirty one that a migration broke off, which blocks every
    later start (#4613, #4836 of coder/coder).
    """

    name: ClassVar[str] = "schema-clean"

    def judge(self, run: RunView) -> Finding:
        """Compare the two readings."""
        before, after = ([e.rows for e in run.all(ev.Schema) if e.when == when] for when in ("baseline", "end"))
        if run.fault is None or not before or not after:
            said = "no fault" if run.fault is None else "the table was not read before and after"
            return Finding(self.name, Status.INCONCLUSIVE, said, limit=_LIMIT)
        rows, was = after[-1], before[0]
        wrong = _wrong(rows, was)
        status = Status.FAIL if wrong else Status.PASS
        said = wrong or f"version {rows[0][0]}, not dirty, as before"
        return Finding(self.name, status, said, "broken" if wrong else "clean", _LIMIT, "end of the run", len(rows))


def _wrong(rows: list[list[object]], was: list[list[object]]) -> str:
    if len(rows) != 1:
        return f"{len(rows)} rows in schema_migrations, {len(was)} at the baseline: it was not migrated once"
    version, dirty = rows[0]
    if dirty:
        return f"version {version} is dirty: a migration broke off, and every later start is refused"
    if rows != was:
        return f"version {version}, at the baseline it was {', '.join(str(row[0]) for row in was) or 'none'}"
    return ""
