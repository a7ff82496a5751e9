"""The meter's plan: one JSON object, checked in full before anything is dialled."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, cast

from harness.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

VERSION: Final = 1

_NO_DEFAULT: Final = object()
_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VISIBLE: Final = re.compile(r"[\x21-\x7e]+")
_HEADER_VALUE: Final = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
_OURS: Final = frozenset({"connection", "content-length", "transfer-encoding", "upgrade"})
"""Headers the mode of a lane decides, never the plan."""


class PlanError(UsageError):
    """The plan is not one we can follow. The text names the key and what was seen."""


@dataclass(frozen=True, slots=True)
class LanePlan:
    """One open-loop lane: `rate_hz` slots per second against one address.

    `expect_body` is a text the body must contain, None to accept any body.
    """

    id: int
    target: str
    host: str
    port: int
    mode: Literal["fresh", "pinned"]
    path: str
    rate_hz: float
    headers: Mapping[str, str]
    expect_status: int
    expect_body: str | None


@dataclass(frozen=True, slots=True)
class WatcherPlan:
    """One long-lived watch session and how it is dialled again after a drop. All times in milliseconds."""

    id: str
    host: str
    port: int
    path: str
    headers: Mapping[str, str]
    policy: Literal["eager"]
    redial_ms: float
    dial_timeout_ms: float
    ping_every_ms: float
    ping_timeout_ms: float


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything one meter process does. `priority` is the nice value to ask for, lower is more urgent."""

    folder: Path
    deadline_ms: float
    upstream_header: str
    lanes: tuple[LanePlan, ...]
    watchers: tuple[WatcherPlan, ...]
    priority: int


def parse_plan(line: bytes) -> Plan:
    """Read a plan from its JSON line.

    Raises PlanError for bytes that are not JSON, a missing, unknown or wrong key, an id used twice, or nothing to do.
    """
    try:
        raw = json.loads(line)
    except ValueError as exc:
        raise PlanError(f"the plan is not one line of JSON: {exc}") from None
    keys = _Keys(raw, "plan")
    if keys.whole("v", 0, 2**31) != VERSION:
        raise PlanError(f"plan: v is {keys.seen('v')}, this meter follows v {VERSION}")
    plan = Plan(
        folder=Path(keys.text("dir")),
        deadline_ms=keys.number("deadline_ms", 1, 60_000),
        upstream_header=keys.text("upstream_header", "X-Chaos-Upstream", _TOKEN),
        lanes=tuple(_lane(item, f"lanes[{at}]") for at, item in enumerate(keys.items("lanes"))),
        watchers=tuple(_watcher(item, f"watchers[{at}]") for at, item in enumerate(keys.items("watchers"))),
        priority=keys.whole("priority", -20, 19, 0),
    )
    keys.done()
    for kind, ids in (("lanes", [lane.id for lane in plan.lanes]), ("watchers", [w.id for w in plan.watchers])):
        if len(set(ids)) != len(ids):
            raise PlanError(f"plan: two of {kind} share an id, every id must be its own")
    if not plan.lanes and not plan.watchers:
        raise PlanError("plan: neither lanes nor watchers, nothing to measure")
    return plan


def _lane(raw: object, where: str) -> LanePlan:
    keys = _Keys(raw, where)
    lane = LanePlan(
        id=keys.whole("id", 0, 0xFFFF),
        target=keys.text("target"),
        host=keys.text("host", pattern=_VISIBLE),
        port=keys.whole("port", 1, 0xFFFF),
        mode=cast("Literal['fresh', 'pinned']", keys.choice("mode", ("fresh", "pinned"))),
        path=keys.path("path"),
        rate_hz=keys.number("rate_hz", 0.01, 1000),
        headers=keys.headers("headers"),
        expect_status=keys.whole("expect_status", 200, 599, 200),
        expect_body=keys.optional_text("expect_body"),
    )
    keys.done()
    return lane


def _watcher(raw: object, where: str) -> WatcherPlan:
    keys = _Keys(raw, where)
    watcher = WatcherPlan(
        id=keys.text("id"),
        host=keys.text("host", pattern=_VISIBLE),
        port=keys.whole("port", 1, 0xFFFF),
        path=keys.path("path"),
        headers=keys.headers("headers"),
        policy=cast("Literal['eager']", keys.choice("policy", ("eager",), "eager")),
        redial_ms=keys.number("redial_ms", 1, 60_000, 50),
        dial_timeout_ms=keys.number("dial_timeout_ms", 1, 60_000, 2000),
        ping_every_ms=keys.number("ping_every_ms", 10, 60_000, 1000),
        ping_timeout_ms=keys.number("ping_timeout_ms", 10, 60_000, 2000),
    )
    keys.done()
    return watcher


class _Keys:
    """Takes typed values out of one JSON object; `done` complains about what nobody took."""

    def __init__(self, raw: object, where: str) -> None:
        if not isinstance(raw, dict):
            raise PlanError(f"{where}: wanted an object, saw {_short(raw)}")
        self._raw = raw
        self._where = where
        self._taken: set[str] = set()

    def text(self, key: str, default: object = _NO_DEFAULT, pattern: re.Pattern[str] | None = None) -> str:
        value = self._take(key, default)
        if not isinstance(value, str) or not value or (pattern and not pattern.fullmatch(value)):
            raise self._wrong(key, "a plain text")
        return value

    def optional_text(self, key: str) -> str | None:
        return None if self._raw.get(key) is None and self._take(key, None) is None else self.text(key)

    def path(self, key: str) -> str:
        value = self.text(key, pattern=_VISIBLE)
        if not value.startswith("/"):
            raise self._wrong(key, "a path from /")
        return value

    def whole(self, key: str, low: int, high: int, default: object = _NO_DEFAULT) -> int:
        value = self._take(key, default)
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise self._wrong(key, f"a whole number from {low} to {high}")
        return value

    def number(self, key: str, low: float, high: float, default: object = _NO_DEFAULT) -> float:
        value = self._take(key, default)
        if not isinstance(value, int | float) or isinstance(value, bool) or not low <= value <= high:
            raise self._wrong(key, f"a number from {low} to {high}")
        return value

    def choice(self, key: str, among: tuple[str, ...], default: object = _NO_DEFAULT) -> str:
        value = self._take(key, default)
        if value not in among:
            raise self._wrong(key, " or ".join(among))
        return value

    def items(self, key: str) -> list[object]:
        value = self._take(key, [])
        if not isinstance(value, list):
            raise self._wrong(key, "a list")
        return value

    def headers(self, key: str) -> dict[str, str]:
        value = self._take(key, {})
        if not isinstance(value, dict):
            raise self._wrong(key, "an object of texts")
        for name, text in value.items():
            if not _TOKEN.fullmatch(name) or name.lower() in _OURS or name.lower().startswith("sec-websocket-"):
                raise PlanError(f"{self._where}: {key} has {name!r}, which is no header a plan can set")
            if not isinstance(text, str) or not _HEADER_VALUE.fullmatch(text):
                # The value may be a session token: never print it.
                raise PlanError(f"{self._where}: {key}: the value of {name!r} is no header text")
        return value

    def seen(self, key: str) -> str:
        return _short(self._raw.get(key))

    def done(self) -> None:
        if unknown := sorted(set(self._raw) - self._taken):
            raise PlanError(f"{self._where}: unknown key {', '.join(unknown)}")

    def _take(self, key: str, default: object) -> object:
        self._taken.add(key)
        value = self._raw.get(key, default)
        if value is _NO_DEFAULT:
            raise PlanError(f"{self._where}: {key} is missing")
        return value

    def _wrong(self, key: str, wanted: str) -> PlanError:
        return PlanError(f"{self._where}: {key} must be {wanted}, saw {self.seen(key)}")


def _short(value: object) -> str:
    return json.dumps(value)[:80]
