"""The session ledger (`sessions.jsonl`) and the write history (`history.jsonl`), read into rows a judge can use."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SESSIONS = "sessions.jsonl"
HISTORY = "history.jsonl"


def read_rows(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the whole rows of a JSON-lines file; a missing file has none, a cut last line is dropped.

    So is a damaged one: the manifest names the file, and that alone keeps the run from passing.
    """
    if not path.is_file():
        return
    lines = path.read_bytes().split(b"\n")
    for line in lines[:-1]:
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict):
            yield row


@dataclass
class Drop:
    """One loss of one session, and how it ended. Times in monotonic ns; `back` is None while it is still down."""

    session: str
    at: int
    cause: str
    code: int | None
    upstream: int
    back: int | None = None
    opened: int | None = None
    upstream_after: int = 0
    attempts: int = 0
    build_number: int | None = None


@dataclass
class Sessions:
    """All sessions of one policy: drops in order, and the population."""

    names: list[str] = field(default_factory=list)
    drops: list[Drop] = field(default_factory=list)
    opened: dict[str, int] = field(default_factory=dict)
    rows: int = 0

    @property
    def never_opened(self) -> list[str]:
        """Sessions that never had a first message."""
        return [name for name in self.names if name not in self.opened]


def sessions(path: Path, policy: str = "eager") -> Sessions:
    """Fold the ledger of one policy. A session is back with the first snapshot after a drop, not with the 101."""
    out = Sessions()
    down: dict[str, Drop] = {}
    for row in read_rows(path):
        if row.get("policy", policy) != policy:
            continue
        name, what = row["session"], row["ev"]
        out.rows += 1
        if name not in out.names:
            out.names.append(name)
        drop = down.get(name)
        if what == "drop":
            fresh = Drop(name, row["t_ns"], row["cause"], row.get("code"), row.get("upstream") or 0)
            if drop is None:
                out.drops.append(fresh)
                down[name] = fresh
        elif what == "dial" and drop:
            drop.attempts += 1
        elif what == "open" and drop:
            drop.opened, drop.upstream_after = row["t_ns"], row.get("upstream") or 0
        elif what == "first":
            out.opened.setdefault(name, row["t_ns"])
            if drop:
                drop.back, drop.build_number = row["t_ns"], row.get("build_number")
                del down[name]
    return out


def workspace_of(watchers: list[dict[str, Any]]) -> dict[str, str]:
    """Map session name to the workspace id it watches."""
    return {w["id"]: w["workspace"] for w in watchers if w.get("workspace")}


@dataclass(frozen=True)
class Write:
    """One write of the history. `result` is ack, refused, or what settled an unknown: exists or absent (or unknown)."""

    writer: str
    op: str
    workspace: str
    build_number: int
    invoked: int
    ended: int
    result: str
    through: str


def history(path: Path) -> list[Write]:
    """Fold `history.jsonl`: one Write per invocation, in order of invocation."""
    open_: dict[str, dict[str, Any]] = {}
    out: list[Write] = []
    for row in read_rows(path):
        writer = row["writer"]
        if row["ev"] == "invoke":
            open_[writer] = row
        elif writer in open_ and row["ev"] in {"ack", "refused", "exists", "absent", "unsettled"}:
            out.append(_write(open_.pop(writer), row, row["ev"]))
    out += [_write(row, row, "unsettled") for row in open_.values()]
    return sorted(out, key=lambda w: (w.invoked, w.writer))


def _write(start: dict[str, Any], end: dict[str, Any], result: str) -> Write:
    return Write(
        writer=start["writer"],
        op=start["op"],
        workspace=end.get("workspace") or start.get("workspace") or "",
        build_number=end.get("build_number") or start["build_number"],
        invoked=start["t_ns"],
        ended=end["t_ns"],
        result=result,
        through=end.get("upstream") or "",
    )
