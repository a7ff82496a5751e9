"""Failures as the load sees them: none hidden, each in its class."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from load_rig import LOADTESTS, fixed_gets

from harness.loadlog import requests, totals
from harness.records import Outcome

if TYPE_CHECKING:
    from pathlib import Path

    from load_server import Api


def test_every_kill_is_a_failure(api: Api, tmp_path: Path) -> None:
    code, _, records = fixed_gets(tmp_path, api.url, "/kill-second", gets=100)
    assert code == 0
    assert totals([records]) == (100, 0, {Outcome.OK: 50, Outcome.CLOSED: 50}, 0, 0)
    assert api.killed == 50


def test_the_hidden_retry_would_have_hidden_them_all(api: Api, tmp_path: Path) -> None:
    _, _, records = fixed_gets(tmp_path, api.url, "/kill-second", gets=100, UNMASK="0")
    assert totals([records]).outcomes == {Outcome.OK: 100}
    assert api.killed == 99


def test_outcomes(api: Api, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full, socket.socket() as unused:
        # One waiting connection fills a backlog of 0: the next dial gets no answer at all.
        filler = socket.create_connection(full.getsockname())
        unused.bind(("127.0.0.1", 0))
        full_url, refused_url = (f"http://127.0.0.1:{s.getsockname()[1]}/" for s in (full, unused))
        expected = {
            "/reset": Outcome.RESET,
            "/close": Outcome.CLOSED,
            "/half-head": Outcome.CLOSED,
            "/half-body": Outcome.CLOSED,
            "/garbage": Outcome.MALFORMED,
            "/hang": Outcome.READ_TIMEOUT,
            "/status/503": Outcome.SERVER_ERROR,
            "/status/404": Outcome.OTHER_STATUS,
            "/status/302": Outcome.OTHER_STATUS,
            "/api/v2/page": Outcome.WRONG_BODY,
            "/healthz": Outcome.OK,
            full_url: Outcome.CONNECT_TIMEOUT,
            refused_url: Outcome.REFUSED,
            "http://nowhere.invalid/": Outcome.LOCAL_ERROR,
        }
        code, out, records = fixed_gets(tmp_path, api.url, " ".join(expected))
        filler.close()
    assert code == 0
    assert {request.name.removeprefix("GET "): request.outcome for request in requests(records)} == expected
    assert "Traceback" not in out
    assert not any(path == "/elsewhere" for _, path, _ in api.seen)


@pytest.mark.parametrize(
    "change",
    [
        "client._new_name = client.__dict__.pop('_may_retry_after_send_error')",
        "client.HTTPClient.request = lambda self: None",
    ],
    ids=["renamed", "no longer called"],
)
def test_import_fails_when_the_retry_cannot_be_switched_off(change: str) -> None:
    code = f"from geventhttpclient import client\n{change}\nimport _client"
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(LOADTESTS)}
    child = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False)
    assert child.returncode == 1
    assert "ImportError: geventhttpclient no longer has client._may_retry_after_send_error" in child.stderr
