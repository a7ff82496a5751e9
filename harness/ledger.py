"""Files of rows: how they are read, and the write history (`history.jsonl`) as a judge uses it.

The session ledger (`sessions.jsonl`) is folded in `populations`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Ending:
    """What a writer last saw of a build of its own; `stuck` when that was no end, and it gave the build up."""

    writer: str
    workspace: str
    build_number: int
    at: int
    status: str
    stuck: bool


def endings(path: Path) -> list[Ending]:
    """Read from `history.jsonl` which builds were over, and which were given up, in order."""
    return [
        Ending(row["writer"], row["workspace"], row["build_number"], row["t_ns"], row["status"], row["ev"] == "stuck")
        for row in read_rows(path)
        if row["ev"] in {"over", "stuck"}
    ]


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
