"""The session ledger (`sessions.jsonl`) folded into populations: who was dropped and why, how long, and what was lost.

A population is a kind of session and a client's policy, `watch.eager`. They are never mixed: a polite client's pause is
no slowness of the server. What a row holds is told by `harness.probes.ledger`.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, NamedTuple

from harness.ledger import read_rows
from harness.recount import Recount
from harness.series import SECOND, Interval
from harness.survival import Survival

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


@dataclass
class Parts:
    """A gap in its four parts, in ns. They are the time between rows, each in exactly one part, so they sum to it."""

    detect: int = 0
    """From the last good exchange until the client knew."""
    backoff: int = 0
    """Waited, as the policy wants."""
    dial: int = 0
    """Connecting and asking for the upgrade, refused attempts too."""
    resume: int = 0
    """From the open to the first good message."""

    @property
    def total(self) -> int:
        """The whole gap so far."""
        return self.detect + self.backoff + self.dial + self.resume


@dataclass
class Drop:
    """One loss of one session, and how it ended. Times in monotonic ns; `back` is None while it is still down."""

    session: str
    at: int
    cause: str
    code: int | None
    upstream: int
    initiator: str = ""
    last: int = 0
    """Last good exchange before it."""
    back: int | None = None
    opened: int | None = None
    upstream_after: int = 0
    attempts: int = 0
    build_number: int | None = None
    gave_up: str | None = None
    """Why its policy never comes back."""
    parts: Parts = field(default_factory=Parts)


@dataclass
class EchoCounts:
    """Numbered messages of echo sessions, summed over connections. Only `lost` and `doubled` are the server's doing."""

    sent: int = 0
    back: int = 0
    lost: int = 0
    """Not come back on a connection that lived on."""
    in_flight: int = 0
    """Under way when their connection ended."""
    doubled: int = 0
    reordered: int = 0
    late: int = 0
    """Come back on a later connection."""

    def add(self, counts: dict[str, Any]) -> None:
        """Add those of one connection."""
        for name in _ECHO:
            if isinstance(value := counts.get(name), int):
                setattr(self, name, getattr(self, name) + value)


_ECHO = tuple(f.name for f in fields(EchoCounts))


class Peak(NamedTuple):
    """Most dials in any second, and when that second began."""

    dials: int
    at: int


@dataclass
class Population:
    """All sessions of one kind and policy: drops in order, and the population. `end` is how far the ledger looks."""

    name: str
    drops: list[Drop] = field(default_factory=list)
    opened: dict[str, int] = field(default_factory=dict)
    """First good message ever, by session."""
    gave_up: dict[str, str] = field(default_factory=dict)
    echo: EchoCounts = field(default_factory=EchoCounts)
    dials: array[int] = field(default_factory=lambda: array("q"))
    answers: array[int] = field(default_factory=lambda: array("q"))
    """When a dial was answered, by a yes or a status: those that the service had work with."""
    rows: int = 0
    end: int = 0
    _names: dict[str, None] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        """Kind of its sessions."""
        return self.name.partition(".")[0]

    @property
    def names(self) -> list[str]:
        """Sessions, in the order of their first row."""
        return list(self._names)

    @property
    def never_opened(self) -> list[str]:
        """Sessions that never had a first message."""
        return [name for name in self._names if name not in self.opened]

    def dropped(self, window: Interval) -> list[Drop]:
        """Drops within a window."""
        return [d for d in self.drops if window.lo <= d.at < window.hi]

    def survival(self, drops: Iterable[Drop]) -> Survival:
        """How long these stay down, from the last good exchange on."""
        drops = list(drops)
        return Survival(
            back=tuple(sorted(d.back - d.last for d in drops if d.back is not None)),
            down=tuple(sorted(max(0, self.end - d.last) for d in drops if d.back is None)),
        )

    def peak_dials(self, window: Interval, *, answered: bool = False) -> Peak:
        """Find the herd: the second within the window with the most dials, or answers to them."""
        times = sorted(t for t in (self.answers if answered else self.dials) if window.lo <= t < window.hi)
        best, first = Peak(0, window.lo), 0
        for last, moment in enumerate(times):
            while moment - times[first] >= SECOND:
                first += 1
            if last - first + 1 > best.dials:
                best = Peak(last - first + 1, times[first])
        return best

    def add(self, row: dict[str, Any], name: str, down: dict[str, _Down]) -> None:
        """Take one row of one session; `down` are those that are lost now."""
        what, at = row["ev"], row["t_ns"]
        self.rows += 1
        self._names.setdefault(name)
        lost = down.get(name)
        if what == "open" or (what == "refused" and str(row.get("why")).startswith("status:")):
            self.answers.append(at)
        if what == "dial":
            self.dials.append(at)
        elif what == "drop" and lost is None:
            lost = down[name] = _Down(_drop(row, name))
            self.drops.append(lost.drop)
        elif what == "first":
            self.opened.setdefault(name, at)
        elif what == "gaveup":
            self.gave_up[name] = str(row.get("why"))
        if isinstance(row.get("echo"), dict):
            self.echo.add(row["echo"])
        if lost is not None and lost.turn(row):
            del down[name]


class _Down:
    """A lost session on its way back: what it does now, and since when."""

    def __init__(self, drop: Drop) -> None:
        self.drop = drop
        self._doing, self._since = "detect", drop.last

    def turn(self, row: dict[str, Any]) -> bool:
        """Book the time since the last turn; whether the session is back."""
        drop, what, at = self.drop, row["ev"], row["t_ns"]
        doing = _NEXT.get(what)
        if doing is None:
            return False
        setattr(drop.parts, self._doing, getattr(drop.parts, self._doing) + at - self._since)
        self._doing, self._since = doing, at
        if what == "dial":
            drop.attempts += 1
        elif what == "open":
            drop.opened, drop.upstream_after = at, row.get("upstream") or 0
        elif what == "gaveup":
            drop.gave_up = str(row.get("why"))
        elif what == "first":
            drop.back, drop.build_number = at, row.get("build_number")
        return bool(what == "first")


_NEXT = {"drop": "backoff", "dial": "dial", "refused": "backoff", "gaveup": "backoff", "open": "resume", "first": ""}
"""What a session does after a turn."""


def _drop(row: dict[str, Any], name: str) -> Drop:
    at = row["t_ns"]
    return Drop(
        session=name,
        at=at,
        cause=str(row.get("cause")),
        code=row.get("code"),
        upstream=row.get("upstream") or 0,
        initiator=str(row.get("initiator") or ""),
        last=min(at, row.get("last_ns") or at),
    )


@dataclass
class SessionLedger:
    """The whole ledger, folded."""

    populations: dict[str, Population]
    checkpoints: int = 0
    disagreement: str | None = None
    """First checkpoint at which opens - closes was not what lived, in words; None when all agree."""

    def population(self, name: str) -> Population:
        """Population by `kind.policy`, an empty one if there is none."""
        return self.populations.get(name) or Population(name)


def read_sessions(path: Path) -> SessionLedger:
    """Fold the ledger. A session is back with its first good message after a drop, not with the 101.

    Rows that are none of ours are left out: a file that was changed is told by the manifest.
    """
    out, count, end = SessionLedger({}), Recount(), 0
    down: dict[str, _Down] = {}
    for row in read_rows(path):
        at, what, name = row.get("t_ns"), row.get("ev"), row.get("session")
        if not isinstance(at, int) or not isinstance(what, str):
            continue
        end = max(end, at)
        if what == "checkpoint":
            out.checkpoints += 1
            out.disagreement = out.disagreement or count.against(row)
        elif isinstance(name, str):
            count.turn(name, what)
            key = f"{row.get('kind', 'watch')}.{row.get('policy', 'eager')}"
            out.populations.setdefault(key, Population(key)).add(row, name, down)
    for population in out.populations.values():
        population.end = end
    return out


def workspace_of(watchers: list[dict[str, Any]]) -> dict[str, str]:
    """Map session name to the workspace id it watches."""
    return {w["id"]: w["workspace"] for w in watchers if w.get("workspace")}
