from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from harness.ledger import endings, history, read_rows

if TYPE_CHECKING:
    from pathlib import Path


def written(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_every_invocation_is_one_write(tmp_path: Path) -> None:
    def row(t: int, ev: str, writer: str = "w0", **more: Any) -> dict[str, Any]:
        return {"t_ns": t, "writer": writer, "ev": ev, **more}

    rows = [
        row(1, "invoke", op="stop", workspace="a", build_number=2),
        row(2, "invoke", writer="w1", op="create", workspace="", build_number=1),
        row(3, "ack", build_number=2, upstream=7),
        row(4, "ack", writer="w1", workspace="b", build_number=1),
        row(5, "invoke", op="start", workspace="a", build_number=3),
        row(6, "absent", workspace="a", build_number=3),
        row(7, "invoke", op="start", workspace="a", build_number=3),
    ]
    found = history(written(tmp_path / "h", rows))
    assert [(w.writer, w.op, w.workspace, w.build_number, w.result) for w in found] == [
        ("w0", "stop", "a", 2, "ack"),
        ("w1", "create", "b", 1, "ack"),
        ("w0", "start", "a", 3, "absent"),
        ("w0", "start", "a", 3, "unsettled"),
    ]


def test_what_a_writer_gave_up_is_told_from_what_it_could_not_read(tmp_path: Path) -> None:
    def row(t: int, ev: str, status: str) -> dict[str, Any]:
        return {"t_ns": t, "writer": "w0", "ev": ev, "workspace": "a", "build_number": t, "status": status}

    rows = [row(1, "over", "succeeded"), row(2, "unread", ""), row(3, "stuck", "running"), row(4, "over", "failed")]
    path = written(tmp_path / "h", rows)
    assert [(e.build_number, e.status, e.stuck) for e in endings(path)] == [
        (1, "succeeded", False),
        (3, "running", True),
        (4, "failed", False),
    ]
    assert history(path) == []


def test_a_missing_file_has_no_rows_and_a_cut_line_is_dropped(tmp_path: Path) -> None:
    assert list(read_rows(tmp_path / "nowhere")) == []
    (tmp_path / "cut").write_text('{"a":1}\n{"a":')
    assert list(read_rows(tmp_path / "cut")) == [{"a": 1}]
