"""The meter's plan: one JSON object, checked in full before anything is dialled."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, cast

from harness.probes.plan_keys import TOKEN, VISIBLE, Keys, PlanError
from harness.probes.session_plan import parse_herd, parse_sessions
from harness.probes.tls import TlsPlan, tls_plan
from harness.upstreams import HEADER, Upstreams

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.probes.session_plan import HerdPlan, SessionPlan

VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Limits of single phases of a slot, in milliseconds, beside its deadline. None for no limit of its own."""

    connect_ms: float | None = None
    tls_ms: float | None = None
    first_byte_ms: float | None = None
    """From the request to the first byte of the answer; for `ws` from the request for the upgrade."""


@dataclass(frozen=True, slots=True)
class LanePlan:
    """One open-loop lane: `rate_hz` slots per second against one address.

    `expect_body` is a text the body must contain, `expect_type` the media type it must have (`application/json`: the page
    of a proxy, or of the dashboard itself, may well contain the text); None to accept any. `ws` lanes expect an echo.
    """

    id: int
    target: str
    host: str
    port: int
    mode: Literal["fresh", "pinned", "ws"]
    path: str
    rate_hz: float
    headers: Mapping[str, str]
    expect_status: int
    expect_body: str | None
    expect_type: str | None = None
    tls: TlsPlan | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything one meter process does. `priority` is the nice value to ask for, lower is more urgent."""

    folder: Path
    deadline_ms: float
    upstreams: Upstreams
    lanes: tuple[LanePlan, ...]
    watchers: tuple[SessionPlan, ...]
    herd: HerdPlan
    priority: int
    timeouts: Timeouts = Timeouts()
    follow_ms: float = 10_000
    """How long after it was due a fresh slot without an answer is listened to further; 0 for not at all."""


def parse_plan(line: bytes) -> Plan:
    """Read a plan from its JSON line.

    Raises PlanError for bytes that are not JSON, a missing, unknown or wrong key, an id used twice, or nothing to do.
    """
    try:
        raw = json.loads(line)
    except ValueError as exc:
        raise PlanError(f"the plan is not one line of JSON: {exc}") from None
    keys = Keys(raw, "plan")
    if keys.whole("v", 0, 2**31) != VERSION:
        raise PlanError(f"plan: v is {keys.seen('v')}, this meter follows v {VERSION}")
    plan = Plan(
        folder=Path(keys.text("dir")),
        deadline_ms=keys.number("deadline_ms", 1, 60_000),
        upstreams=Upstreams(keys.text("upstream_header", HEADER, TOKEN), keys.ports("upstream_ports")),
        lanes=tuple(_lane(item, f"lanes[{at}]") for at, item in enumerate(keys.items("lanes"))),
        watchers=parse_sessions(keys.items("watchers")),
        herd=parse_herd(keys),
        priority=keys.whole("priority", -20, 19, 0),
        timeouts=_timeouts(keys),
        follow_ms=keys.number("follow_ms", 0, 600_000, 10_000),
    )
    keys.done()
    for kind, ids in (("lanes", [lane.id for lane in plan.lanes]), ("watchers", [w.id for w in plan.watchers])):
        if len(set(ids)) != len(ids):
            raise PlanError(f"plan: two of {kind} share an id, every id must be its own")
    if not plan.lanes and not plan.watchers:
        raise PlanError("plan: neither lanes nor watchers, nothing to measure")
    return plan


def _timeouts(keys: Keys) -> Timeouts:
    inner = keys.optional_object("timeouts")
    if inner is None:
        return Timeouts()
    limits = [inner.optional_number(f"{phase}_ms", 1, 60_000) for phase in ("connect", "tls", "first_byte")]
    inner.done()
    return Timeouts(*limits)


def _lane(raw: object, where: str) -> LanePlan:
    keys = Keys(raw, where)
    mode = cast("Literal['fresh', 'pinned', 'ws']", keys.choice("mode", ("fresh", "pinned", "ws")))
    if mode == "ws":
        keys.absent("expect_status", "expect_body", "expect_type", why="a ws lane expects its echo")
    lane = LanePlan(
        id=keys.whole("id", 0, 0xFFFF),
        target=keys.text("target"),
        host=keys.text("host", pattern=VISIBLE),
        port=keys.whole("port", 1, 0xFFFF),
        mode=mode,
        path=keys.path("path"),
        rate_hz=keys.number("rate_hz", 0.01, 1000),
        headers=keys.headers("headers"),
        expect_status=keys.whole("expect_status", 200, 599, 200),
        expect_body=keys.optional_text("expect_body"),
        expect_type=keys.optional_text("expect_type"),
        tls=tls_plan(keys),
    )
    keys.done()
    return lane
