"""From what the HTTP client raised to the outcome class that is recorded."""

from __future__ import annotations

import errno
from ssl import SSLEOFError, SSLError, SSLZeroReturnError
from typing import Final

from geventhttpclient.response import HTTPConnectionClosed, HTTPParseError

from harness.records import Outcome


class DialTimeoutError(TimeoutError):
    """No connection before the connect timeout. geventhttpclient itself raises the same error for dial and read."""


_BY_TYPE: Final = (
    # The first match counts: the most specific stand first.
    (DialTimeoutError, Outcome.CONNECT_TIMEOUT),
    (TimeoutError, Outcome.READ_TIMEOUT),
    (ConnectionRefusedError, Outcome.REFUSED),
    ((ConnectionResetError, ConnectionAbortedError, BrokenPipeError), Outcome.RESET),
    ((SSLEOFError, SSLZeroReturnError), Outcome.CLOSED),
    (SSLError, Outcome.MALFORMED),
    (HTTPParseError, Outcome.MALFORMED),
)

_UNREACHABLE = frozenset({errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN})
"""The network itself said no: for the user the same as a refused connection."""

_ENDED_EARLY = ("connection closed", "Invalid EOF state", "Incomplete response")
"""geventhttpclient 2.6 has one type for an answer that is no HTTP and for one that stops in the middle."""


def of_status(status: int) -> Outcome:
    """Outcome of a complete answer with `status`. A redirect is none that the API gives, so it is not OK."""
    if 200 <= status < 300:
        return Outcome.OK
    return Outcome.SERVER_ERROR if status >= 500 else Outcome.OTHER_STATUS


def of_error(error: BaseException) -> Outcome:
    """Outcome of a request that got no complete answer."""
    # The client wraps what it would have retried, had we allowed it any retry.
    error = getattr(error, "original", None) or error
    if isinstance(error, HTTPConnectionClosed):
        # One type for both endings; the reset, if it was one, is what it was raised from.
        return Outcome.RESET if isinstance(error.__context__, ConnectionResetError) else Outcome.CLOSED
    if isinstance(error, HTTPParseError) and error.args[:1] and error.args[0].startswith(_ENDED_EARLY):
        return Outcome.CLOSED
    for kind, outcome in _BY_TYPE:
        if isinstance(error, kind):
            return outcome
    if isinstance(error, OSError) and error.errno in _UNREACHABLE:
        return Outcome.REFUSED
    # What is left happens on this machine: no descriptor, no port, no name server, a local firewall.
    return Outcome.LOCAL_ERROR
