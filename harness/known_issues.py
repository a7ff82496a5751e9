"""The register of known issues of Coder (`known_issues.yaml`): what a failed finding may be explained by. Pure.

A match never turns a FAIL into anything else. It says that somebody knows, where that is discussed, and until when that
may be taken for an answer: an entry past its day warns in every run.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from datetime import date
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

FILE = Path(__file__).with_suffix(".yaml")
_EPOCH, _DAY_NS = date(1970, 1, 1), 86_400 * 10**9
_NUMBERS = re.compile(r"v?(\d+\.\d+(?:\.\d+)?)")


@dataclass(frozen=True)
class KnownIssue:
    """One entry. `versions` is a specifier such as `>=2.29,<2.36`; `expires` the first day on which it warns."""

    id: str
    issue: str
    scenario: str
    objective: str
    versions: str
    expires: date
    says: str

    def explains(self, scenario: str, objective: str, version: str) -> bool:
        """Whether a failed `objective` of `scenario` on this version of Coder is this issue."""
        from packaging.specifiers import SpecifierSet  # noqa: PLC0415 - only a failed finding asks

        numbers = _NUMBERS.match(version)
        fits = numbers is not None and numbers[1] in SpecifierSet(self.versions)
        return scenario == self.scenario and objective == self.objective and fits

    def expired(self, wall_ns: int) -> bool:
        """Whether its day had come when the run began."""
        return date.fromordinal(_EPOCH.toordinal() + wall_ns // _DAY_NS) >= self.expires


@cache
def register(path: Path = FILE) -> tuple[KnownIssue, ...]:
    """All entries; raise UsageError naming the file, the entry and the key that is wrong."""
    import yaml  # noqa: PLC0415 - only judging needs it
    from packaging.specifiers import InvalidSpecifier, SpecifierSet  # noqa: PLC0415

    try:
        rows = yaml.safe_load(path.read_text(encoding="utf-8")) or []
    except (OSError, yaml.YAMLError) as error:
        raise UsageError(f"{path}: cannot be read: {str(error).splitlines()[0]}") from error
    if not isinstance(rows, list):
        raise UsageError(f"{path}: wanted a list of entries")
    issues = [_entry(path, number, row) for number, row in enumerate(rows, 1)]
    for issue in issues:
        try:
            SpecifierSet(issue.versions)
        except InvalidSpecifier as error:
            raise UsageError(f"{path}: {issue.id}: versions: {error}; write it as '>=2.29,<2.36'") from error
    if len({issue.id for issue in issues}) != len(issues):
        raise UsageError(f"{path}: two entries share an id")
    return tuple(issues)


def explained(issues: Sequence[KnownIssue], scenario: str, objective: str, version: str) -> str:
    """Text of the issue that explains a failed finding, empty if none does."""
    name = objective.partition(" ")[0]
    found = next(
        (i for i in issues if i.explains(scenario, objective, version) or i.explains(scenario, name, version)), None
    )
    return f"{found.issue}: {found.says}" if found else ""


def _entry(path: Path, number: int, row: Any) -> KnownIssue:
    wanted = {field.name: field.type for field in fields(KnownIssue)}
    where = f"{path}: entry {number}"
    if not isinstance(row, dict) or set(row) != set(wanted):
        raise UsageError(f"{where}: wanted exactly the keys {', '.join(wanted)}")
    for key, type_ in wanted.items():
        if not isinstance(row[key], date if type_ == "date" else str):
            form = "a day such as 2027-05-31" if type_ == "date" else "a text"
            raise UsageError(f"{where}: {key} must be {form}, saw {row[key]!r}")
    return KnownIssue(**row)
