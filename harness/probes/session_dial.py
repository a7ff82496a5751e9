"""The upgrade of a session to WebSocket: what is asked, and why an answer is no yes."""

from __future__ import annotations

import errno
import re
from typing import TYPE_CHECKING, Final

from websockets.client import ClientProtocol
from websockets.exceptions import InvalidMessage
from websockets.http11 import Response
from websockets.uri import WebSocketURI

from harness.probes.session_frames import QUIET
from harness.probes.tcp import LOCAL_ERRORS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.upstreams import Upstreams

_MAX_HEAD: Final = 64 * 1024
_END: Final = b"\r\n\r\n"
_STATUS: Final = re.compile(rb"HTTP/1\.[01] (\d{3})\b")
_ERRORS: Final = {
    errno.ECONNREFUSED: "refused",
    errno.ECONNRESET: "reset",
    errno.EPIPE: "reset",
    errno.ETIMEDOUT: "timeout",
}


class Refused(Exception):  # noqa: N818 - what a server may well do; never leaves the session
    """The answer is no upgrade: `why` is `status:503`, `malformed`, `handshake` or `eof`."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why

    @property
    def status(self) -> int | None:
        """HTTP status of the answer, None when it had none."""
        return int(self.why.removeprefix("status:")) if self.why.startswith("status:") else None


class Upgrade:
    """One handshake. It reads no further than the head: a body may be long, slow or without an end."""

    __slots__ = ("_core", "_head", "upstream")

    def __init__(self, host: str, port: int, path: str, *, secure: bool = False) -> None:
        uri = WebSocketURI(secure=secure, host=host, port=port, path=path, query="")
        self._core = ClientProtocol(uri, logger=QUIET)
        self._head = bytearray()
        self.upstream = 0
        """Port of the replica that answered, 0 if unknown."""

    def request(self, headers: Mapping[str, str]) -> bytes:
        """Build the request; `headers` replace ours of the same name."""
        request = self._core.connect()
        for name, value in headers.items():
            if name in request.headers:
                del request.headers[name]  # a plan may set Host; a second one would be refused
            request.headers[name] = value
        self._core.send_request(request)
        return b"".join(self._core.data_to_send())

    def read(self, data: bytes, upstreams: Upstreams) -> bytes | None:
        """Take bytes of the answer; the bytes behind a yes, None while the head is not whole. Raises Refused."""
        self._head += data
        end = self._head.find(_END)
        if end < 0:
            if not _begins_like_http(self._head) or len(self._head) > _MAX_HEAD:
                raise Refused("malformed")
            return None
        status = _STATUS.match(self._head)
        if status is not None and status[1] != b"101":
            raise Refused(f"status:{int(status[1])}")
        rest = bytes(self._head[end + len(_END) :])
        self._core.receive_data(bytes(self._head[: end + len(_END)]))
        problem = self._core.handshake_exc
        if problem is not None:
            raise Refused("malformed" if isinstance(problem, InvalidMessage) else "handshake")
        for event in self._core.events_received():
            if isinstance(event, Response):
                # Twice is no error of ours: the nearest proxy writes last.
                self.upstream = upstreams.port((event.headers.get_all(upstreams.header) or [""])[-1])
        return rest


def dial_error(error: int) -> str:
    """Name the errno with which a dial failed."""
    if error in LOCAL_ERRORS:
        return f"local:{errno.errorcode[error]}"
    return _ERRORS.get(error, "unreachable")


def _begins_like_http(head: bytes | bytearray) -> bool:
    return head[:5] == b"HTTP/"[: len(head)]
