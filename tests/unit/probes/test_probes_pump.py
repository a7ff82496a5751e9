"""The engine in a closed loop, as benchmarks drive it."""

from __future__ import annotations

import asyncio

import probe_servers as s
import pytest
from test_probes_http_client import lane
from test_probes_outcomes import closed_port

from harness.probes.pump import pump

SECONDS = 0.3


@pytest.mark.parametrize("mode", ["fresh", "pinned"])
def test_each_answer_is_followed_by_the_next_request(servers, mode):
    server = servers.start(s.saying(s.answer()))
    done = asyncio.run(pump(lane(host="127.0.0.1", port=server.port, mode=mode), 3, SECONDS))

    assert done.requests == done.ok > 3
    assert done.seconds >= SECONDS
    assert done.cpu_s > 0
    # What is in flight at the end was asked and is not counted.
    assert done.ok <= server.requests <= done.ok + 3
    assert server.connections == 3 if mode == "pinned" else server.connections >= server.requests


@pytest.mark.parametrize("mode", ["fresh", "pinned"])
def test_a_server_that_refuses_is_not_dialled_without_end(mode):
    with closed_port() as port:
        done = asyncio.run(pump(lane(host="127.0.0.1", port=port, mode=mode), 2, SECONDS))
    assert done.ok == 0
    assert 2 <= done.requests <= 2 * (SECONDS / 0.01 + 1)
