"""Echo kept: a connection that lives loses no message and doubles none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from harness.verdict import Finding, Status

if TYPE_CHECKING:
    from harness.timeline import RunView


@dataclass(frozen=True)
class EchoKept:
    """Of the numbered messages of all echo sessions, none is lost on a connection that lived on, and none comes twice.

    What was under way when a connection ended is lost with it, and is no fault of the stream.
    """

    name: ClassVar[str] = "echo-kept"
    min_messages: int = 1

    def judge(self, run: RunView) -> Finding:
        """Judge every connection of the run."""
        limits, where = "0 lost, 0 doubled", "the whole run"
        if run.window is None:
            return Finding(self.name, Status.INCONCLUSIVE, "no fault window", limit=limits)
        echoes = [p for p in run.sessions.populations.values() if p.kind == "echo"]
        back, lost, doubled, under_way, reordered = (
            sum(getattr(p.echo, what) for p in echoes) for what in ("back", "lost", "doubled", "in_flight", "reordered")
        )
        if lost or doubled:
            names = ", ".join(sorted(p.name for p in echoes if p.echo.lost or p.echo.doubled))
            said = f"{lost} lost outside drops, {doubled} doubled ({names})"
            return Finding(self.name, Status.FAIL, said, f"{lost} lost, {doubled} doubled", limits, where, back)
        if back < self.min_messages:
            said = f"{back} messages came back, too few to judge" if echoes else "no echo session"
            return Finding(self.name, Status.INCONCLUSIVE, said, limit=limits, n=back)
        said = f"{back} came back once each; {under_way} ended with their connections, {reordered} out of order"
        return Finding(self.name, Status.PASS, said, "0 lost, 0 doubled", limits, where, back)
