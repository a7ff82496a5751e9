"""Reading JSON bodies, with Coder's validation answers (coderd/httpapi/httpapi.go)."""

import json
import re
import shlex
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from aiohttp import web

from standin.errors import ApiError

_NAME = re.compile(r"[a-zA-Z0-9]+(?:-[a-zA-Z0-9]+)*")
_NAME_MAX = 32
_EMAIL = re.compile(r"[^@\s]+@[^@\s]+")


class Body:
    """A JSON object under check: readers note problems, ``check`` raises one 400 for all of them."""

    def __init__(self, data: dict[str, Any]) -> None:
        self.data = data
        self._problems: list[tuple[str, str]] = []

    @classmethod
    async def read(cls, request: web.Request) -> "Body":
        """Parse the request's body; raise 400 unless it is a JSON object."""
        try:
            data = json.loads(await request.read())
        except ValueError as error:
            raise ApiError(400, "Request body must be valid JSON.", str(error)) from None
        if not isinstance(data, dict):
            raise ApiError(400, "Request body must be valid JSON.", "the body is not an object")
        return cls(data)

    def problem(self, field: str, tag: str, value: object = "") -> None:
        """Note that a field broke the rule named ``tag``."""
        self._problems.append((field, f'Validation failed for tag "{tag}" with value: "{value}"'))

    def check(self) -> None:
        """Raise the 400 for every problem noted so far."""
        if self._problems:
            raise ApiError(400, "Validation failed.", validations=self._problems)

    def text(self, field: str, *, required: bool = False) -> str:
        """Read a string; absent and null are empty."""
        value = self.data.get(field)
        if value is not None and not isinstance(value, str):
            raise ApiError(400, "Request body must be valid JSON.", f"json: field {field} must be a string")
        if required and not value:
            self.problem(field, "required")
        return value or ""

    def name(self, field: str, *, tag: str = "username") -> str:
        """Read a required name: letters, digits and single dashes, at most 32."""
        value = self.text(field, required=True)
        if value and (len(value) > _NAME_MAX or not _NAME.fullmatch(value)):
            self.problem(field, tag, value)
        return value

    def email(self, field: str, *, required: bool = True) -> str:
        """Read an e-mail address."""
        value = self.text(field, required=required)
        if value and not _EMAIL.fullmatch(value):
            self.problem(field, "email", value)
        return value

    def uuid(self, field: str, *, required: bool = False) -> UUID | None:
        """Read a UUID; absent, empty or the zero UUID is None."""
        value = self.text(field, required=required)
        if not value:
            return None
        try:
            found = UUID(value)
        except ValueError:
            raise ApiError(400, "Request body must be valid JSON.", f"json: invalid UUID in {field}") from None
        if found.int == 0:
            if required:
                self.problem(field, "required", value)
            return None
        return found

    def choice(self, field: str, allowed: tuple[str, ...], default: str = "") -> str:
        """Read one of ``allowed``; without a default the field is required."""
        value = self.text(field, required=not default) or default
        if value and value not in allowed:
            self.problem(field, "oneof", value)
        return value

    def integer(self, field: str) -> int | None:
        """Read a whole number, or None when absent."""
        value = self.data.get(field)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int):
            raise ApiError(400, "Request body must be valid JSON.", f"json: field {field} must be a number")
        return value

    def objects(self, field: str) -> dict[str, Any]:
        """Read an object; absent is empty."""
        value = self.data.get(field)
        if value is not None and not isinstance(value, dict):
            raise ApiError(400, "Request body must be valid JSON.", f"json: field {field} must be an object")
        return value or {}


def path_uuid(request: web.Request, name: str) -> UUID:
    """Read a UUID from the path; raise 400 as Coder does for text that is none."""
    text = request.match_info[name]
    try:
        return UUID(text)
    except ValueError:
        raise ApiError(400, f'Invalid UUID "{text}".') from None


def page(request: web.Request) -> tuple[int | None, int]:
    """Read ``limit`` (None when 0 or absent: no limit) and ``offset`` from the query."""
    numbers = []
    for name in ("limit", "offset"):
        text = request.query.get(name, "0")
        if not text.isdigit():
            detail = f'Query param "{name}" must be a valid positive integer: "{text}"'
            raise ApiError(400, "Query parameters have invalid values.", validations=[(name, detail)])
        numbers.append(int(text))
    return numbers[0] or None, numbers[1]


def search_terms(query: str, known: Sequence[str], what: str, *, free: str) -> dict[str, str]:
    """Read ``q``: ``key:value`` words, values may be quoted; a word without a key goes to ``free``. Raise 400 else."""
    terms = dict.fromkeys(known, "")
    try:
        words = shlex.split(query)
    except ValueError as error:
        raise ApiError(400, f"Invalid {what} search query.", validations=[("q", str(error))]) from None
    for word in words:
        key, colon, value = word.partition(":")
        name, value = (key.lower(), value) if colon else (free, word)
        if name not in terms:
            problem = (name, f'"{name}" is not a valid query param')
            raise ApiError(400, f"Invalid {what} search query.", validations=[problem])
        terms[name] = value
    return terms
