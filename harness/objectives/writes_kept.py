"""Writes kept: every acknowledged write exists exactly once. Safety: broken, it is FAIL whatever else happened."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from harness import events as ev
from harness.verdict import Finding, Status

if TYPE_CHECKING:
    from harness.timeline import RunView


@dataclass(frozen=True)
class WritesKept:
    """Compare the history with what the API (of a replica that was not hurt first) and SQL say exists at the end.

    Acknowledged: its 2xx was fully read. A build may have failed; it must be there, once, with its transition.
    With `may_come_late` a write nobody acknowledged may appear after it was read as absent: a replica that is slow, and not
    frozen, may still be at work on a request whose caller gave up. Such writes are counted.
    """

    name: ClassVar[str] = "writes-kept"
    min_writes: int = 10
    may_come_late: bool = False

    def judge(self, run: RunView) -> Finding:
        """Look for lost, doubled and contradicting rows in every source of truth."""
        truths = run.all(ev.Truth)
        acked = [w for w in run.history if w.result in ("ack", "exists")]
        absent = [w for w in run.history if w.result == "absent"]
        late: set[tuple[str, int]] = set()
        unsettled = sum(w.result == "unsettled" for w in run.history)
        if not truths:
            return Finding(self.name, Status.INCONCLUSIVE, "the truth was never read")
        for truth in truths:
            for write in acked:
                row = truth.builds.get(write.workspace, {}).get(str(write.build_number))
                what = f"{write.op} of build {write.build_number} (workspace {write.workspace[:8]}, by {write.writer})"
                if row is None:
                    return self._broken(f"acknowledged and lost: {what}, says {truth.by}", len(acked))
                if row[1] != 1:
                    return self._broken(f"stored {row[1]} times: {what}, says {truth.by}", len(acked))
                if row[0] != ("stop" if write.op == "stop" else "start"):
                    return self._broken(f"stored as {row[0]}: {what}, says {truth.by}", len(acked))
            for write in absent:
                known = [w for w in acked if (w.workspace, w.build_number) == (write.workspace, write.build_number)]
                if str(write.build_number) in truth.builds.get(write.workspace, {}) and not known:
                    late.add((write.workspace, write.build_number))
                    if self.may_come_late:
                        continue
                    return self._broken(
                        f"settled as absent, appeared later: build {write.build_number} of {write.workspace[:8]}",
                        len(acked),
                    )
        sources = " and ".join(t.by for t in truths)
        said = f"{len(acked)} acknowledged, 0 lost, 0 doubled ({sources}); {len(absent)} settled as absent, {unsettled} unsettled"
        said += f"; {len(late)} of the absent came late" * bool(late)
        status = Status.PASS if len(acked) >= self.min_writes else Status.INCONCLUSIVE
        return Finding(
            self.name, status, said, f"{len(acked)} kept", "every one, once", "whole run", len(acked), safety=True
        )

    def _broken(self, said: str, n: int) -> Finding:
        return Finding(self.name, Status.FAIL, said, "broken", "every one, once", "whole run", n, safety=True)
