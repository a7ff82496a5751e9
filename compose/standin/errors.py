"""Error answers: Coder's body shape and texts (coderd/httpapi/httpapi.go, coderd/httpmw/apikey.go)."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import asyncpg

from standin.log import one_line

SIGNED_OUT = "You are signed out or your session has expired. Please sign in again to continue."
INTERNAL = "An internal error occurred. Please try again or contact the system administrator."


class DatabaseAwayError(Exception):
    """The pool is not open, so no query can be tried."""


# What a query may raise when the database, the path to it or the wait for it fails.
DATABASE_ERRORS: Final[tuple[type[Exception], ...]] = (
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    DatabaseAwayError,
    OSError,
    TimeoutError,
)


class ApiError(Exception):
    """An answer that is not 2xx: ``{"message", "detail"?, "validations"?: [{"field", "detail"}]}``."""

    def __init__(
        self,
        status: int,
        message: str,
        detail: str = "",
        *,
        validations: Sequence[tuple[str, str]] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.detail = detail
        self.validations = tuple(validations)
        self.headers = dict(headers or {})

    def body(self) -> dict[str, Any]:
        """Give the JSON object of the answer; empty parts are left out, as Go's omitempty does."""
        body: dict[str, Any] = {"message": self.message}
        if self.detail:
            body["detail"] = self.detail
        if self.validations:
            body["validations"] = [{"field": field, "detail": detail} for field, detail in self.validations]
        return body


def not_found() -> ApiError:
    """404: absent and not permitted are the same on purpose."""
    return ApiError(404, "Resource not found or you do not have access to this resource")


def forbidden() -> ApiError:
    """403 for a signed-in user without the role."""
    return ApiError(403, "Forbidden.")


def signed_out(detail: str) -> ApiError:
    """401: no key, a wrong key or an old one."""
    return ApiError(401, SIGNED_OUT, detail)


def key_lookup_failed(error: BaseException) -> ApiError:
    """500 while the database is away: builds since coder/coder PR 23352 no longer call this a 401."""
    return ApiError(500, INTERNAL, f"Internal error fetching API key by id. {one_line(error)}")


def internal(error: BaseException) -> ApiError:
    """500 for a database error after the key was read, or for anything unforeseen."""
    return ApiError(500, "An internal server error occurred.", one_line(error))
