"""geventhttpclient as a load must have it: one try per request, a name for every ending, a bound on every answer.

Importing this module changes geventhttpclient for the whole process, as a load process must have it.
"""

from __future__ import annotations

import time
import zlib
from functools import lru_cache
from ssl import SSLEOFError, SSLError, SSLZeroReturnError
from typing import TYPE_CHECKING, Any, Final

from geventhttpclient import client as http_client
from geventhttpclient.connectionpool import ConnectionPool, SSLConnectionPool
from geventhttpclient.response import HTTPParseError, HTTPSocketPoolResponse
from geventhttpclient.url import URL
from locust.contrib.fasthttp import FastResponse, LocustUserAgent

if TYPE_CHECKING:
    from collections.abc import Mapping

    from geventhttpclient.client import HTTPClient

    from loadtests._outcome import DialTimeoutError, HandshakeError, HandshakeTimeoutError, WrongBodyError
else:  # Locust puts this folder on the path, not the one above it.
    from _outcome import DialTimeoutError, HandshakeError, HandshakeTimeoutError, WrongBodyError

LARGEST: Final = 16 << 20
"""Bytes of the largest answer that is read, on the wire and unpacked. Pages of Coder's API are some hundred kB."""

LARGEST_HEAD: Final = 256 << 10
"""Bytes of the largest head. The parser takes time with the square of it."""

_RETRY = "_may_retry_after_send_error"
_RESPONSE = "HTTPSocketPoolResponse"
_CONNECT = "_connect_socket"


class BoundedResponse(HTTPSocketPoolResponse):
    """Gives up an answer that does not end: after `LARGEST` bytes, or at the first byte after the network timeout.

    The library's own timeout is one between two reads, and a server that sends a byte now and then never meets it.
    """

    def __init__(self, sock: Any, pool: ConnectionPool, **more: Any) -> None:
        self._left = LARGEST
        self._until = time.monotonic() + pool.network_timeout
        super().__init__(sock, pool, **more)

    def feed(self, data: str | bytes) -> None:
        """Parse what was read."""
        self._left -= len(data)
        if self._left < 0:
            raise WrongBodyError(f"more than {LARGEST} bytes")
        if self._left < LARGEST - LARGEST_HEAD and not self.headers_complete:
            raise HTTPParseError(f"the head has more than {LARGEST_HEAD} bytes")
        super().feed(data)
        if not self.message_complete and time.monotonic() > self._until:
            raise TimeoutError("the answer trickles in and has not ended before the network timeout")


def _change_library() -> None:
    """Make geventhttpclient report what it would hide.

    Below `max_retries`, it sends a GET again when its connection dies in flight. A killed replica then costs nobody
    anything: of 99 requests lost on a server that kills every second one, 0 are reported. There is no public switch.
    It also raises one and the same error for a dial, a handshake and an answer that take too long.
    """
    used = http_client.HTTPClient.request.__code__.co_names
    # A function that exists and is no longer called would be as bad as one that is gone.
    gone = [f"client.{name}" for name in (_RETRY, _RESPONSE) if not hasattr(http_client, name) or name not in used]
    if not hasattr(ConnectionPool, _CONNECT) or _CONNECT not in ConnectionPool._create_socket.__code__.co_names:  # noqa: SLF001
        gone.append(f"ConnectionPool.{_CONNECT}")
    if gone:
        raise ImportError(
            f"geventhttpclient no longer has {', '.join(gone)}: lost requests would be sent again unseen."
            " Install the version that coder-chaos pins"
        )
    setattr(http_client, _RETRY, lambda _method: False)
    setattr(http_client, _RESPONSE, BoundedResponse)
    dial, shake = getattr(ConnectionPool, _CONNECT), getattr(SSLConnectionPool, _CONNECT)

    def timed_dial(self: ConnectionPool, sock: Any, address: Any) -> Any:
        try:
            return dial(self, sock, address)
        except TimeoutError as error:
            raise DialTimeoutError(str(error)) from error

    def timed_shake(self: SSLConnectionPool, sock: Any, address: Any) -> Any:
        try:
            return shake(self, sock, address)  # dials first
        except DialTimeoutError:
            raise
        except TimeoutError as error:
            raise HandshakeTimeoutError(str(error)) from error
        except (SSLEOFError, SSLZeroReturnError):
            raise  # the server went away, as it may at any other time
        except SSLError as error:
            raise HandshakeError(str(error)) from error

    setattr(ConnectionPool, _CONNECT, timed_dial)
    setattr(SSLConnectionPool, _CONNECT, timed_shake)


_change_library()


class BoundedAnswer(FastResponse):
    """An answer whose body is unpacked up to `LARGEST` bytes. Only what was asked for is understood: plain, or gzip."""

    def _content(self) -> bytes:
        if self.headers is None or self._response is None:
            return b""
        body = self._response.read()
        self.release()
        packed = self.headers.get("content-encoding")
        return body if packed in (None, "identity") else unpacked(body, packed)


def unpacked(body: bytes, how: object) -> bytes:
    """Body of an answer that came packed; raises WrongBodyError or zlib.error for one that nobody should send."""
    if how != "gzip":
        raise WrongBodyError(f"content-encoding {how!r}, asked for gzip")
    unzip = zlib.decompressobj(16 + zlib.MAX_WBITS)
    plain = unzip.decompress(body, LARGEST)
    if unzip.unconsumed_tail:
        raise WrongBodyError(f"more than {LARGEST} bytes when unpacked")
    if not unzip.eof:
        raise zlib.error("the packed body stops in the middle")
    return plain


class Sent:
    """What Locust's listeners may read of a request."""

    __slots__ = ("body", "headers", "method", "url")

    def __init__(self, method: str, url: str, headers: Mapping[str, str], body: Any) -> None:
        self.method, self.url, self.headers, self.body = method, url, headers, body


class Agent(LocustUserAgent):
    """Sends a request once, to where it was told: no second try, no redirect, no cookie.

    A redirect would carry the token to another host, and with the session cookie Coder asks for a CSRF token on every
    POST (coderd/httpmw/csrf.go). What is left out is also a third of the library's time per request.
    """

    response_type = BoundedAnswer

    def __init__(self, headers: Mapping[str, str], **more: Any) -> None:
        """`headers` go with every request."""
        super().__init__(headers=headers, max_retries=0, max_redirects=0, **more)
        self.clientpool.client_args["headers"] = {"User-Agent": "coder-chaos-load", **headers}
        self._clients: dict[tuple[str, int | None], HTTPClient] = {}

    def urlopen(  # type: ignore[override]  # the library's other arguments are for what is left out
        self, url: str, method: str = "GET", headers: Any = None, payload: Any = None, params: Any = None, **more: Any
    ) -> Any:
        """Send, and return the answer once its head is there. Raises what `_outcome.of_error` knows."""
        headers["Accept-Encoding"] = "gzip"
        if params or more or isinstance(payload, dict):
            return super().urlopen(url, method, headers, payload, params=params, **more)
        origin, target = _parsed(url)
        client = self._clients.get(origin)
        if client is None:
            client = self._clients[origin] = self.clientpool.get_client(URL(url))
        raw = client.request(method, target, payload, headers)
        sent: Any = Sent(method, url, headers, payload)
        answer = self.response_type(raw, sent, raw._sent_request)  # noqa: SLF001
        try:
            self._verify_status(raw.get_code(), url=url)  # type: ignore[no-untyped-call]
        except Exception as error:
            error.response = answer  # type: ignore[attr-defined]  # where Locust looks for it
            raise
        return answer


@lru_cache(maxsize=4096)
def _parsed(url: str) -> tuple[tuple[str, int | None], str]:
    """Origin and request target of a URL. Parsing costs as much as sending, and a load asks for the same few."""
    parts = URL(url)
    return (parts.host, parts.port), parts.quoted_uri
