"""Typed values out of the JSON objects of a plan, with errors that name the key."""

from __future__ import annotations

import json
import re
from typing import Final

from harness.errors import UsageError

_NO_DEFAULT: Final = object()
TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
VISIBLE: Final = re.compile(r"[\x21-\x7e]+")
_HEADER_VALUE: Final = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
_OURS: Final = frozenset({"connection", "content-length", "transfer-encoding", "upgrade"})
"""Headers the mode of a lane decides, never the plan."""


class PlanError(UsageError):
    """The plan is not one we can follow. The text names the key and what was seen."""


class Keys:
    """Takes typed values out of one JSON object; `done` complains about what nobody took."""

    def __init__(self, raw: object, where: str) -> None:
        if not isinstance(raw, dict):
            raise PlanError(f"{where}: wanted an object, saw {short(raw)}")
        self._raw = raw
        self._where = where
        self._taken: set[str] = set()

    def text(self, key: str, default: object = _NO_DEFAULT, pattern: re.Pattern[str] | None = None) -> str:
        """Take a text that is not empty and matches `pattern` in full."""
        value = self._take(key, default)
        if not isinstance(value, str) or not value or (pattern and not pattern.fullmatch(value)):
            raise self._wrong(key, "a plain text")
        return value

    def optional_text(self, key: str) -> str | None:
        """Take a text, None where the key is null or absent."""
        return None if self._take(key, None) is None else self.text(key)

    def optional_object(self, key: str) -> Keys | None:
        """Take an object as keys of its own, None where it is null or absent."""
        value = self._take(key, None)
        return None if value is None else Keys(value, f"{self._where}.{key}")

    def flag(self, key: str, default: object = _NO_DEFAULT) -> bool:
        """Take true or false."""
        value = self._take(key, default)
        if not isinstance(value, bool):
            raise self._wrong(key, "true or false")
        return value

    def path(self, key: str) -> str:
        """Take a path of visible ASCII from /."""
        value = self.text(key, pattern=VISIBLE)
        if not value.startswith("/"):
            raise self._wrong(key, "a path from /")
        return value

    def whole(self, key: str, low: int, high: int, default: object = _NO_DEFAULT) -> int:
        """Take an integer from `low` to `high`."""
        value = self._take(key, default)
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise self._wrong(key, f"a whole number from {low} to {high}")
        return value

    def number(self, key: str, low: float, high: float, default: object = _NO_DEFAULT) -> float:
        """Take a number from `low` to `high`."""
        value = self._take(key, default)
        if not isinstance(value, int | float) or isinstance(value, bool) or not low <= value <= high:
            raise self._wrong(key, f"a number from {low} to {high}")
        return value

    def optional_number(self, key: str, low: float, high: float) -> float | None:
        """Take a number, None where the key is null or absent."""
        return None if self._take(key, None) is None else self.number(key, low, high)

    def choice(self, key: str, among: tuple[str, ...], default: object = _NO_DEFAULT) -> str:
        """Take one of the given texts."""
        value = self._take(key, default)
        if value not in among:
            raise self._wrong(key, " or ".join(among))
        return value

    def ports(self, key: str) -> dict[str, int]:
        """Take an object of ports by text, empty where the key is absent."""
        value = self._take(key, {})
        if not isinstance(value, dict) or not all(type(port) is int and 0 < port < 1 << 16 for port in value.values()):
            raise self._wrong(key, "an object of ports from 1 to 65535")
        return value

    def items(self, key: str) -> list[object]:
        """Take a list, empty where the key is absent."""
        value = self._take(key, [])
        if not isinstance(value, list):
            raise self._wrong(key, "a list")
        return value

    def headers(self, key: str) -> dict[str, str]:
        """Take header names and values, none where the key is absent. An error never shows a value."""
        value = self._take(key, {})
        if not isinstance(value, dict):
            raise self._wrong(key, "an object of texts")
        for name, text in value.items():
            if not TOKEN.fullmatch(name) or name.lower() in _OURS or name.lower().startswith("sec-websocket-"):
                raise PlanError(f"{self._where}: {key} has {name!r}, which is no header a plan can set")
            if not isinstance(text, str) or not _HEADER_VALUE.fullmatch(text):
                # The value may be a session token: never print it.
                raise PlanError(f"{self._where}: {key}: the value of {name!r} is no header text")
        return value

    def seen(self, key: str) -> str:
        """Say what stands under a key."""
        return short(self._raw.get(key))

    def absent(self, *keys: str, why: str) -> None:
        """Raise PlanError for each of the keys that is there and not null."""
        for key in keys:
            if self._raw.get(key) is not None:
                raise PlanError(f"{self._where}: {key} is set, but {why}")

    def done(self) -> None:
        """Raise PlanError when a key was not taken."""
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


def short(value: object) -> str:
    """Write a value as it stands in a plan, cut to 80 characters."""
    return json.dumps(value)[:80]
