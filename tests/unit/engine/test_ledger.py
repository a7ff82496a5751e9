from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from harness.ledger import history, read_rows, sessions, workspace_of

if TYPE_CHECKING:
    from pathlib import Path


def written(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def turn(t: int, ev: str, session: str = "watch-00", **more: Any) -> dict[str, Any]:
    return {"t_ns": t, "session": session, "policy": "eager", "ev": ev, **more}


def test_a_session_is_back_with_its_first_message_and_not_with_its_socket(tmp_path: Path) -> None:
    rows = [
        turn(1, "dial", attempt=1), turn(2, "open", upstream=7), turn(3, "first", build_number=1),
        turn(10, "drop", cause="eof", code=None, upstream=7),
        turn(11, "dial", attempt=1), turn(12, "refused", why="status:502"),
        turn(13, "dial", attempt=2), turn(14, "open", upstream=8),
    ]  # fmt: skip
    [drop] = sessions(written(tmp_path / "s", rows)).drops
    assert (drop.back, drop.opened, drop.upstream_after, drop.attempts) == (None, 14, 8, 2)
    [drop] = sessions(written(tmp_path / "s", [*rows, turn(20, "first", build_number=3)])).drops
    assert (drop.back, drop.build_number, drop.cause, drop.upstream) == (20, 3, "eof", 7)


def test_a_second_loss_while_still_down_is_the_same_drop(tmp_path: Path) -> None:
    rows = [
        turn(1, "open", upstream=7), turn(2, "first"), turn(10, "drop", cause="eof", upstream=7),
        turn(11, "open", upstream=8), turn(12, "drop", cause="silent", upstream=8),
        turn(13, "open", upstream=9), turn(14, "first", build_number=2),
        turn(20, "drop", cause="close", code=1000, upstream=9),
    ]  # fmt: skip
    drops = sessions(written(tmp_path / "s", rows)).drops
    assert [(d.at, d.back, d.code) for d in drops] == [(10, 14, None), (20, None, 1000)]


def test_populations_are_kept_apart(tmp_path: Path) -> None:
    rows = [turn(1, "dial"), turn(2, "dial", session="watch-01", policy="product")]
    assert sessions(written(tmp_path / "s", rows)).names == ["watch-00"]
    assert sessions(tmp_path / "s", "product").names == ["watch-01"]
    assert sessions(tmp_path / "s").never_opened == ["watch-00"]


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


def test_a_missing_file_has_no_rows_and_a_cut_line_is_dropped(tmp_path: Path) -> None:
    assert list(read_rows(tmp_path / "nowhere")) == []
    (tmp_path / "cut").write_text('{"a":1}\n{"a":')
    assert list(read_rows(tmp_path / "cut")) == [{"a": 1}]


def test_watchers_without_a_workspace_are_left_out() -> None:
    assert workspace_of([{"id": "a", "workspace": "w"}, {"id": "b"}, {"id": "c", "workspace": ""}]) == {"a": "w"}
