"""Statuses, findings and the verdict. `judge(directory)` is pure: the same directory gives the same bytes anywhere.

Validity gates come first, then findings. A broken *safety* finding (an acknowledged write lost or doubled) is FAIL
whatever the gates say, and any broken one when all that the gates miss is that a target did what it was asked to.
FAIL > ABORTED > INCONCLUSIVE > PASS.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any


class Status(StrEnum):
    """Status of a finding or a run. MEASURED is a figure without a limit: it never decides anything."""

    PASS = "PASS"  # noqa: S105 - the word, not a secret
    FAIL = "FAIL"
    INCONCLUSIVE = "INCONCLUSIVE"
    ABORTED = "ABORTED"
    MEASURED = "MEASURED"


EXIT_CODES = {Status.PASS: 0, Status.FAIL: 1, Status.INCONCLUSIVE: 3, Status.ABORTED: 4}
DIRTY_EXIT = 6


@dataclass(frozen=True)
class Finding:
    """What one objective says. `lo` and `hi` bound the value; `limit` is in the same unit."""

    objective: str
    status: Status
    said: str
    value: str = ""
    limit: str = ""
    window: str = ""
    n: int = 0
    safety: bool = False
    known: str = ""
    """The known issue that explains a FAIL: it stays one."""


@dataclass(frozen=True)
class Gate:
    """One condition without which a run proves nothing. `why` is empty when it holds."""

    name: str
    ok: bool
    said: str
    meter: bool = False
    delivered: bool = False
    """Not ok, yet the deed reached its targets: no credit for what is kept, but what is broken is theirs."""


@dataclass(frozen=True)
class Verdict:
    """The answer, its reasons in order, and the flag that something of ours was left behind."""

    status: Status
    why: str
    gates: list[Gate] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    dirty: bool = False

    @property
    def exit_code(self) -> int:
        """Exit code of a single run."""
        return DIRTY_EXIT if self.dirty else EXIT_CODES[self.status]

    @property
    def first_failed(self) -> Finding | None:
        """The first failed objective in the scenario's own order: the one that names the cause."""
        return next((f for f in self.findings if f.status is Status.FAIL), None)

    def to_json(self) -> str:
        """Stable text: sorted keys, no floats but those already rounded by the findings."""
        data: dict[str, Any] = asdict(self)
        for gate in data["gates"]:
            if not gate["delivered"]:
                del gate["delivered"]
        return json.dumps(data, indent=1, sort_keys=True) + "\n"


def bounded(lo: float, hi: float, limit: float) -> Status:
    """Bounds decide: FAIL only if even `lo` breaks the limit, PASS only if even `hi` keeps it."""
    if lo > limit:
        return Status.FAIL
    return Status.PASS if hi <= limit else Status.INCONCLUSIVE


def decide(gates: list[Gate], findings: list[Finding], aborted: str | None, dirty: str | None) -> Verdict:
    """Combine gates and findings into a verdict."""
    broken = [g for g in gates if not g.ok]
    shut = [g for g in broken if not g.delivered]
    unsafe = [f for f in findings if f.safety and f.status is Status.FAIL]
    failed = [f for f in findings if f.status is Status.FAIL]
    open_ = [f for f in findings if f.status is Status.INCONCLUSIVE]
    if unsafe or (failed and not shut):
        first = (unsafe or failed)[0] if shut else failed[0]
        known = sum(bool(f.known) for f in failed)
        apart = f" ({known} of {len(failed)} failed objectives are known issues)" if known else ""
        status, why = Status.FAIL, f"{first.objective}: {first.said}{apart}"
    elif aborted:
        status, why = Status.ABORTED, aborted
    elif broken:
        status, why = Status.INCONCLUSIVE, f"{broken[0].name}: {broken[0].said}"
    elif open_:
        status, why = Status.INCONCLUSIVE, f"{open_[0].objective}: {open_[0].said}"
    elif not [f for f in findings if f.status is Status.PASS]:
        status, why = Status.INCONCLUSIVE, "no objective was judged"
    else:
        kept = sum(f.status is Status.PASS for f in findings)
        status, why = Status.PASS, f"all {kept} objectives kept, every fault proven and healed"
    return Verdict(status, why if not dirty else f"{why}; DIRTY: {dirty}", gates, findings, dirty=bool(dirty))
