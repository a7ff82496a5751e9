from __future__ import annotations

import json

import pytest

from harness.errors import UsageError
from harness.probes.plan import Timeouts, parse_plan
from harness.probes.tls import TlsPlan

LANE = {"id": 0, "target": "balancer", "host": "h", "port": 80, "mode": "fresh", "path": "/", "rate_hz": 50}
WATCHER = {"id": "w", "host": "h", "port": 80, "path": "/ws"}
PLAN = {"v": 1, "dir": "/d", "deadline_ms": 1000, "lanes": [LANE], "watchers": [WATCHER]}


def test_fills_in_what_a_plan_may_leave_out():
    plan = parse_plan(json.dumps(PLAN).encode())

    (lane,) = plan.lanes
    assert (plan.upstreams.header, plan.upstreams.ports, plan.priority) == ("X-Chaos-Upstream", {}, 0)
    assert (lane.headers, lane.expect_status, lane.expect_body) == ({}, 200, None)


def test_limits_and_trust_may_be_left_out_in_part():
    plan = parse_plan(json.dumps(PLAN).encode())
    assert (plan.timeouts, plan.follow_ms, plan.lanes[0].tls) == (Timeouts(), 10_000, None)

    lane = {**LANE, "tls": {"server_name": "coder.test"}}
    row = {**PLAN, "lanes": [lane], "timeouts": {"tls_ms": 5, "connect_ms": None}, "follow_ms": 0}
    plan = parse_plan(json.dumps(row).encode())
    assert (plan.timeouts, plan.follow_ms) == (Timeouts(tls_ms=5), 0)
    assert plan.lanes[0].tls == TlsPlan(verify=True, ca=None, server_name="coder.test")


def test_replicas_that_share_a_port_have_others_in_the_plan():
    plan = parse_plan(json.dumps({**PLAN, "upstream_ports": {"coder-1:7080": 20001}}).encode())
    assert (plan.upstreams.port("coder-1:7080"), plan.upstreams.port("coder-2:7080")) == (20001, 7080)


@pytest.mark.parametrize("ports", [[], {"a:1": 0}, {"a:1": 65536}, {"a:1": "1"}, {"a:1": True}])
def test_ports_of_replicas_are_ports(ports):
    with pytest.raises(UsageError, match="upstream_ports"):
        parse_plan(json.dumps({**PLAN, "upstream_ports": ports}).encode())


def test_an_expected_body_may_be_null_or_a_text():
    for body in (None, "OK"):
        plan = parse_plan(json.dumps({**PLAN, "lanes": [{**LANE, "expect_body": body}]}).encode())
        assert plan.lanes[0].expect_body == body


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"v": 2}, "plan: v is 2, this meter follows v 1"),
        ({"colour": 1, "beta": 2}, "plan: unknown key beta, colour"),
        ({"deadline_ms": 0}, "plan: deadline_ms must be a number from 1 to 60000, saw 0"),
        ({"deadline_ms": True}, "plan: deadline_ms must be a number from 1 to 60000, saw true"),
        ({"priority": 20}, "plan: priority must be a whole number from -20 to 19, saw 20"),
        ({"dir": ""}, 'plan: dir must be a plain text, saw ""'),
        ({"lanes": {}}, "plan: lanes must be a list, saw {}"),
        ({"lanes": [7]}, "lanes[0]: wanted an object, saw 7"),
        ({"lanes": [{**LANE, "rate": 1}]}, "lanes[0]: unknown key rate"),
        ({"lanes": [{**LANE, "mode": "h2"}]}, 'lanes[0]: mode must be fresh or pinned or ws, saw "h2"'),
        (
            {"lanes": [{**LANE, "mode": "ws", "expect_body": "OK"}]},
            "lanes[0]: expect_body is set, but a ws lane expects its echo",
        ),
        ({"lanes": [{**LANE, "path": "x"}]}, 'lanes[0]: path must be a path from /, saw "x"'),
        ({"lanes": [{**LANE, "path": "/ HTTP"}]}, 'lanes[0]: path must be a plain text, saw "/ HTTP"'),
        ({"lanes": [{**LANE, "rate_hz": 0}]}, "lanes[0]: rate_hz must be a number from 0.01 to 1000, saw 0"),
        ({"lanes": [{**LANE, "expect_body": 1}]}, "lanes[0]: expect_body must be a plain text, saw 1"),
        ({"lanes": [{**LANE, "tls": True}]}, "lanes[0].tls: wanted an object, saw true"),
        ({"lanes": [{**LANE, "tls": {"verify": 1}}]}, "lanes[0].tls: verify must be true or false, saw 1"),
        ({"lanes": [{**LANE, "tls": {"cert": "x"}}]}, "lanes[0].tls: unknown key cert"),
        ({"timeouts": {"read_ms": 1}}, "plan.timeouts: unknown key read_ms"),
        ({"timeouts": {"tls_ms": 0}}, "plan.timeouts: tls_ms must be a number from 1 to 60000, saw 0"),
        ({"follow_ms": -1}, "plan: follow_ms must be a number from 0 to 600000, saw -1"),
        ({"lanes": [LANE, LANE]}, "plan: two of lanes share an id, every id must be its own"),
        ({"watchers": [WATCHER, WATCHER]}, "plan: two of watchers share an id, every id must be its own"),
        ({"lanes": [], "watchers": []}, "plan: neither lanes nor watchers, nothing to measure"),
        (
            {"lanes": [{**LANE, "headers": {"Connection": "close"}}]},
            "lanes[0]: headers has 'Connection', which is no header a plan can set",
        ),
    ],
)
def test_names_what_is_wrong(change, text):
    with pytest.raises(UsageError) as caught:
        parse_plan(json.dumps({**PLAN, **change}).encode())
    assert str(caught.value) == text


def test_never_repeats_a_header_value():
    lane = {**LANE, "headers": {"Coder-Session-Token": "secret\nsecret"}}
    with pytest.raises(UsageError) as caught:
        parse_plan(json.dumps({**PLAN, "lanes": [lane]}).encode())
    assert str(caught.value) == "lanes[0]: headers: the value of 'Coder-Session-Token' is no header text"


@pytest.mark.parametrize("line", [b"", b"{", b"\xff\xfe", b"[]", b"null"])
def test_refuses_what_is_no_object(line):
    with pytest.raises(UsageError, match="plan"):
        parse_plan(line)
