"""From what the HTTP client gave or raised to the outcome class that is recorded."""

from __future__ import annotations

import errno
import zlib
from ssl import SSLEOFError, SSLError, SSLZeroReturnError
from typing import Final

from geventhttpclient.response import HTTPConnectionClosed, HTTPParseError

from harness.records import Outcome
from harness.records import of_status as of_refusal


class DialTimeoutError(TimeoutError):
    """No connection before the connect timeout. geventhttpclient itself raises the same error for dial and read."""


class HandshakeTimeoutError(TimeoutError):
    """Connected, and no TLS before the connect timeout."""


class HandshakeError(OSError):
    """Connected, and no TLS: a certificate that is not trusted, or whatever else ended the handshake."""


class WrongBodyError(HTTPParseError):
    """The answer is HTTP, and its body is none that the API gives: without end, or packed as nobody asked for."""


_BY_TYPE: Final = (
    # The first match counts: the most specific stand first.
    (DialTimeoutError, Outcome.CONNECT_TIMEOUT),
    (HandshakeTimeoutError, Outcome.TLS_TIMEOUT),
    (HandshakeError, Outcome.TLS_ERROR),
    (TimeoutError, Outcome.READ_TIMEOUT),
    (ConnectionRefusedError, Outcome.REFUSED),
    ((ConnectionResetError, ConnectionAbortedError, BrokenPipeError), Outcome.RESET),
    ((SSLEOFError, SSLZeroReturnError), Outcome.CLOSED),
    (SSLError, Outcome.MALFORMED),
    ((WrongBodyError, zlib.error), Outcome.WRONG_BODY),
    (HTTPParseError, Outcome.MALFORMED),
)

_UNREACHABLE = frozenset({errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN})
"""The network itself said no: for the user the same as a refused connection."""

_ENDED_EARLY = ("connection closed", "Invalid EOF state", "Incomplete response")
"""geventhttpclient 2.6 has one type for an answer that is no HTTP and for one that stops in the middle."""


def of_status(status: int, body: bytes) -> Outcome:
    """Outcome of a complete answer with `status`. A redirect is none that the API gives, so it is not OK."""
    return Outcome.OK if 200 <= status < 300 else of_refusal(status, body)


def of_error(error: BaseException) -> Outcome:
    """Outcome of a request that got no complete answer."""
    # The client wraps what it would have retried, had we allowed it any retry.
    error = getattr(error, "original", None) or error
    if isinstance(error, HTTPConnectionClosed):
        # One type for both endings; the reset, if it was one, is what it was raised from.
        return Outcome.RESET if isinstance(error.__context__, ConnectionResetError) else Outcome.CLOSED
    if isinstance(error, HTTPParseError) and error.args[:1] and str(error.args[0]).startswith(_ENDED_EARLY):
        return Outcome.CLOSED
    for kind, outcome in _BY_TYPE:
        if isinstance(error, kind):
            return outcome
    if isinstance(error, OSError) and error.errno in _UNREACHABLE:
        return Outcome.REFUSED
    # What is left happens on this machine: no descriptor, no port, no name server, a local firewall.
    return Outcome.LOCAL_ERROR
