from __future__ import annotations

import json
import shutil
import signal
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest
from safety_lab import SLEEP, eventually, started

from harness.safety import proc, undo

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HANG = 0


@contextmanager
def toxiproxy(status: int) -> Iterator[tuple[str, list[str]]]:
    """Serve an API that answers every DELETE with one status, or never; gives its address and the paths asked for."""
    asked: list[str] = []
    over = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_DELETE(self) -> None:
            asked.append(self.path)
            if status == HANG:
                over.wait(30)
                return
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        serving.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", asked
        finally:
            over.set()
            server.shutdown()
            serving.join()


def test_steps_and_outcomes_survive_json() -> None:
    steps = [
        undo.signal(proc.ProcessRef(4, 5), "CONT"),
        undo.start("coder-1"),
        undo.toxic_delete("http://127.0.0.1:8474", "db", "chaos-x"),
        undo.Step("x", {"n": None, "b": True, "f": 1.5}, 0.25),
    ]
    assert [undo.Step.from_json(json.loads(json.dumps(step.to_json()))) for step in steps] == steps
    outcome = undo.Outcome(steps[0], ok=True, said="done")
    assert undo.Outcome.from_json(json.loads(json.dumps(outcome.to_json()))) == outcome


def test_signal_thaws_and_may_be_repeated_and_gone_is_fine() -> None:
    with started(*SLEEP) as (popen, process):
        proc.send(process, signal.SIGSTOP)
        eventually(lambda: proc.state(process) == "frozen", "frozen")
        thaw = undo.signal(process, "CONT")
        assert [outcome.ok for outcome in undo.run([thaw, thaw])] == [True, True]
        eventually(lambda: proc.state(process) == "running", "running")
        popen.kill()
        popen.wait()
        (last,) = undo.run([thaw])
        assert last.ok
        assert "gone already" in last.said


def test_every_step_is_tried_and_what_is_unknown_or_malformed_is_named(tmp_path: Path) -> None:
    ours = tmp_path / "chaos-x"
    ours.mkdir()
    steps = [undo.Step("nft.flush"), undo.Step("signal"), undo.Step("signal", {"process": "1", "signal": "CONT"})]
    outcomes = undo.run([*steps, undo.remove_tree(ours)])
    assert [outcome.ok for outcome in outcomes] == [False, False, False, True]
    assert "'nft.flush'" in outcomes[0].said
    assert "known are cgroup.remove, container.cpu," in outcomes[0].said
    assert not ours.exists()


def test_start_asks_the_starter_and_needs_none_when_the_stack_is_gone() -> None:
    def refuse(name: str) -> str:
        raise OSError(f"no room for {name}")

    step = undo.start("coder-1")
    assert undo.run([step], lambda name: f"started {name}")[0] == undo.Outcome(step, ok=True, said="started coder-1")
    assert undo.run([step], refuse)[0] == undo.Outcome(step, ok=False, said="OSError: no room for coder-1")
    assert undo.run([step])[0] == undo.Outcome(step, ok=True, said="its stack is gone, nothing to start")


@pytest.mark.parametrize(
    ("status", "ok", "said"),
    [(200, True, "removed toxic"), (204, True, "removed toxic"), (404, True, "gone already"), (500, False, "500")],
)
def test_toxic_delete_reads_the_answer(status: int, ok: bool, said: str) -> None:
    with toxiproxy(status) as (url, asked):
        (outcome,) = undo.run([undo.toxic_delete(url, "coder-1/db", "chaos-x y")])
    assert (outcome.ok, said in outcome.said) == (ok, True), outcome
    assert asked == ["/proxies/coder-1%2Fdb/toxics/chaos-x%20y"]


def test_a_hanging_toxiproxy_costs_its_deadline_and_no_more() -> None:
    began = time.monotonic()
    with toxiproxy(HANG) as (url, _):
        step = undo.toxic_delete(url, "db", "t")
        short = undo.Step(step.do, step.args, deadline_s=0.3)
        outcomes = undo.run([short, step, step, undo.start("x")], within_s=0.4)
        took = time.monotonic() - began
    assert [outcome.ok for outcome in outcomes] == [False, False, False, True]
    assert all("Timeout" in outcome.said for outcome in outcomes[:3])
    assert 0.6 < took < 2


def test_nobody_at_the_address_is_a_failed_outcome() -> None:
    with toxiproxy(200) as (url, _):
        pass
    (outcome,) = undo.run([undo.toxic_delete(url, "db", "t")])
    assert not outcome.ok
    assert "refused" in outcome.said


def test_remove_tree_removes_ours_twice_and_refuses_all_else(tmp_path: Path) -> None:
    ours, other = tmp_path / "chaos-r1", tmp_path / "precious"
    for folder in (ours, other):
        (folder / "deep").mkdir(parents=True)
        (folder / "deep" / "file").write_text("x")
    (ours / "link").symlink_to(other)
    alias = tmp_path / "chaos-alias"
    alias.symlink_to(other)
    asked = [ours, ours, other, alias]
    outcomes = undo.run([undo.remove_tree(path) for path in asked] + [undo.Step("tree.remove", {"path": "chaos-x"})])
    assert [outcome.ok for outcome in outcomes] == [True, True, False, False, False]
    assert not ours.exists()
    assert (other / "deep" / "file").read_text() == "x"


def test_a_deadline_that_has_passed_is_said() -> None:
    outcomes = undo.run([undo.Step("start", {"name": "x"}, deadline_s=0.0)])
    assert [(outcome.ok, "deadline" in outcome.said) for outcome in outcomes] == [(False, True)]


def test_remove_tree_outlasts_somebody_who_still_writes_into_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the copy of a database does that a killed harness had started."""
    ours = tmp_path / "chaos-r1"
    (ours / "data").mkdir(parents=True)
    rounds, rmtree = iter(range(3)), shutil.rmtree

    def and_is_written_to_again(path: Path) -> None:
        rmtree(path)
        if next(rounds) < 2:
            path.mkdir()
            (path / "late").write_text("x")

    monkeypatch.setattr(shutil, "rmtree", and_is_written_to_again)
    (outcome,) = undo.run([undo.remove_tree(ours)])
    assert outcome.ok, outcome.said
    assert not ours.exists()
