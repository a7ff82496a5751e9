"""Failures as the load sees them: none hidden, each in its class."""

from __future__ import annotations

import ast
import os
import socket
import ssl
import subprocess
import sys
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import pytest
import trustme
from load_rig import LOADTESTS, fixed_gets
from load_server import serve

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
            "/login": Outcome.OTHER_STATUS,
            "/expired": Outcome.UNAUTHORIZED,
            "/key-lookup-failed": Outcome.OTHER_STATUS,
            "/flood-head": Outcome.MALFORMED,
            "/trickle": Outcome.READ_TIMEOUT,
            "/zipped": Outcome.OK,
            "/zipped-bomb": Outcome.WRONG_BODY,
            "/zipped-half": Outcome.WRONG_BODY,
            "/zipped-otherwise": Outcome.WRONG_BODY,
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
    assert not any(seen.path == "/elsewhere" for seen in api.seen)


def test_an_answer_without_end_is_given_up(api: Api, tmp_path: Path) -> None:
    _, _, records = fixed_gets(tmp_path, api.url, "/flood", CHAOS_LOAD_NETWORK_TIMEOUT="30")
    (request,) = requests(records)
    assert (request.outcome, request.status) == (Outcome.WRONG_BODY, 200)
    assert api.flooded < 64 << 20  # 16 MiB are read; the rest is what fits between the two


def test_tls_endings(tmp_path: Path) -> None:
    authority, stranger = trustme.CA(), trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    urls = []
    with ExitStack() as stack:
        for issuer in (authority, stranger):
            tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            issuer.issue_cert("127.0.0.1").configure_cert(tls)
            urls.append(stack.enter_context(contextmanager(serve)(tls)).url)
        silent = stack.enter_context(socket.create_server(("127.0.0.1", 0)))  # takes the dial and never says a word
        hanging = f"https://127.0.0.1:{silent.getsockname()[1]}/"
        expected = {
            f"{urls[0]}/healthz": Outcome.OK,
            f"{urls[0]}/hang": Outcome.READ_TIMEOUT,
            f"{urls[0]}/close": Outcome.CLOSED,
            f"{urls[1]}/healthz": Outcome.TLS_ERROR,
            hanging: Outcome.TLS_TIMEOUT,
        }
        _, out, records = fixed_gets(tmp_path, urls[0], " ".join(expected), SSL_CERT_FILE=str(tmp_path / "ca.pem"))
    assert {request.name.removeprefix("GET "): request.outcome for request in requests(records)} == expected
    assert "Traceback" not in out


def test_nobody_uses_the_other_clients() -> None:
    """Locust's HttpUser has no timeout at all, and a client of one's own would record nothing."""
    for file in LOADTESTS.glob("*.py"):
        names = {node.id for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Name)}
        names |= {
            alias.name
            for node in ast.walk(ast.parse(file.read_text()))
            if isinstance(node, ast.ImportFrom | ast.Import)
            for alias in node.names
        }
        assert not names & {"HttpUser", "HttpSession", "requests", "httpx", "urllib3"}, file
        assert "FastHttpUser" not in names or file.name == "_client.py"


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
