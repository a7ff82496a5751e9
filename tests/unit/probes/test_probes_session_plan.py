from __future__ import annotations

import json

import pytest

from harness.errors import UsageError
from harness.probes.plan import parse_plan
from harness.probes.tls import TlsPlan

SESSION = {"id": "w", "host": "h", "port": 80, "path": "/ws"}
PLAN = {"v": 1, "dir": "/d", "deadline_ms": 1000, "watchers": [SESSION]}


def parsed(*sessions, **more):
    return parse_plan(json.dumps({**PLAN, "watchers": sessions, **more}).encode())


def test_fills_in_what_a_plan_may_leave_out():
    plan = parsed(SESSION)
    (session,) = plan.watchers
    group = session.group

    assert (session.id, session.path) == ("w", "/ws")
    assert (group.kind, group.policy.name, group.policy.pause_s(7, 0.9)) == ("watch", "eager", 0.05)
    assert (group.dial_timeout_ms, group.ping_every_ms, group.ping_timeout_ms) == (2000, 1000, 2000)
    assert (group.beat_ms, group.headers, group.tls) == (1000, (), None)
    assert (plan.herd.step_ms, plan.herd.at_once, plan.herd.seed) == (5, 100, 0)


def test_sessions_that_are_alike_share_what_they_have_in_common():
    one, two, three = (
        {**SESSION, "id": name, "headers": {"Coder-Session-Token": token}}
        for name, token in (("a", "x"), ("b", "x"), ("c", "y"))
    )
    a, b, c = parsed(one, two, three).watchers

    assert a.group is b.group
    assert a.path is b.path is c.path
    assert a.group is not c.group
    assert dict(c.group.headers) == {"Coder-Session-Token": "y"}


def test_an_eager_client_may_have_a_pause_of_its_own():
    (session,) = parsed({**SESSION, "redial_ms": 20}).watchers
    assert [session.group.policy.pause_s(waits, 0.3) for waits in (0, 5)] == [0.02, 0.02]


@pytest.mark.parametrize(
    ("session", "text"),
    [
        ({"policy": "shy"}, 'policy must be eager or dashboard or terminal or vscode or stream, saw "shy"'),
        ({"kind": "telnet"}, 'kind must be echo or inbox or watch, saw "telnet"'),
        ({"policy": "vscode", "redial_ms": 50}, "redial_ms is for policy eager, the pauses of vscode are its own"),
        (
            {"policy": "dashboard", "redial_ms": 50},
            "redial_ms is for policy eager, the pauses of dashboard are its own",
        ),
        ({"beat_ms": 9001}, "beat_ms must be a number from 10 to 9000, saw 9001"),
        ({"host": None}, "host must be a plain text, saw null"),
        ({"colour": 1}, "unknown key colour"),
    ],
)
def test_names_what_is_wrong(session, text):
    with pytest.raises(UsageError) as caught:
        parsed(SESSION, {**SESSION, "id": "x", **session})
    assert str(caught.value) == f"watchers[1]: {text}"


@pytest.mark.parametrize(
    ("key", "value", "text"),
    [
        ("herd_step_ms", 0, "plan: herd_step_ms must be a number from 0.1 to 10000, saw 0"),
        ("herd_at_once", 0, "plan: herd_at_once must be a whole number from 1 to 100000, saw 0"),
        ("seed", -1, "plan: seed must be a whole number from 0 to 9223372036854775808, saw -1"),
    ],
)
def test_names_what_is_wrong_about_the_herd(key, value, text):
    with pytest.raises(UsageError) as caught:
        parsed(SESSION, **{key: value})
    assert str(caught.value) == text


def test_tls_is_read_as_for_lanes():
    (session,) = parsed({**SESSION, "tls": {"server_name": "coder.test"}}).watchers
    assert session.group.tls == TlsPlan(server_name="coder.test")
    with pytest.raises(UsageError, match=r'watchers\[0\]\.tls: verify must be true or false, saw "no"'):
        parsed({**SESSION, "tls": {"verify": "no"}})


def test_two_sessions_with_one_id_are_refused():
    with pytest.raises(UsageError, match="two of watchers share an id, every id must be its own"):
        parsed(SESSION, SESSION)


def test_never_repeats_a_header_value():
    with pytest.raises(UsageError) as caught:
        parsed({**SESSION, "headers": {"Coder-Session-Token": "secret\nsecret"}})
    assert str(caught.value) == "watchers[0]: headers: the value of 'Coder-Session-Token' is no header text"
