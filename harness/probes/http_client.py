"""What a lane says and how it reads the answer: HTTP/1.1, one GET, judged into an outcome class."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from harness.records import Outcome, of_status

if TYPE_CHECKING:
    from harness.probes.plan import LanePlan
    from harness.upstreams import Upstreams

MAX_ANSWER_BYTES: Final = 1024 * 1024
"""Where reading stops. No probe asks for so much, so more than this is a wrong answer."""


def request_bytes(lane: LanePlan) -> bytes:
    """Build the request of a lane, the same for each of its slots."""
    host = f"[{lane.host}]" if ":" in lane.host else lane.host
    headers = {
        "Host": f"{host}:{lane.port}",
        "User-Agent": "coder-chaos-meter",
        "Accept": "*/*",
        "Connection": "close" if lane.mode == "fresh" else "keep-alive",
    }
    ours = {name.lower(): name for name in headers}
    for name, value in lane.headers.items():
        headers[ours.get(name.lower(), name)] = value
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"GET {lane.path} HTTP/1.1\r\n{lines}\r\n".encode("latin-1")


class Answer:
    """Reads the answers of one connection, one after the other, as their bytes come.

    `ended` turns true when no further byte can change the outcome. From then on it hears nothing until `restart`.
    """

    __slots__ = (
        "_body",
        "_complete",
        "_framed",
        "_headed",
        "_malformed",
        "_parser",
        "_size",
        "_type",
        "_upstreams",
        "ended",
        "keep",
        "status",
        "upstream",
    )

    def __init__(self, upstreams: Upstreams) -> None:
        self._upstreams = upstreams
        self._parser: HttpResponseParser | None = HttpResponseParser(self)
        self.restart()

    def restart(self) -> None:
        """Make ready for the next answer on a connection that was kept."""
        self.status = 0
        self.upstream = 0
        self.keep = False
        """Whether the server leaves the connection open after this answer."""
        self.ended = False
        self._body = b""
        self._type = b""
        self._complete = self._framed = self._headed = self._malformed = False
        self._size = 0

    def feed(self, data: bytes) -> None:
        """Take bytes of the connection. Never raises: what is not HTTP becomes an outcome."""
        if self._parser is None:
            return
        self._size += len(data)
        try:
            self._parser.feed_data(data)
        except HttpParserUpgrade:
            self._complete = True
            self.keep = False
        except HttpParserError:
            self.keep = False
            # After a complete answer it is only the rest that is no HTTP.
            self._malformed = not self._complete
        if self._complete or self._malformed or self._size > MAX_ANSWER_BYTES:
            self.ended = True
            self.keep = self.keep and self._size <= MAX_ANSWER_BYTES
            if not self.keep:
                self.release()

    def feed_eof(self, *, whole: bool = True) -> None:
        """Take the end of the stream, which also ends a body that has no length of its own, if the stream is `whole`."""
        if self._headed and not self._framed and whole:
            self._complete = True
        self.keep = False
        self.ended = True
        self.release()

    def release(self) -> None:
        """Stop reading for good. The parser holds our methods: a circle that would wait for the collector."""
        self._parser = None

    def outcome(self, expect_status: int, expect_body: bytes | None, expect_type: bytes | None = None) -> Outcome:
        """Judge an ended answer. `expect_type` is a media type in lower case."""
        oversized = self._size > MAX_ANSWER_BYTES
        if self._malformed or (oversized and not self._headed):
            return Outcome.MALFORMED
        if not self._complete and not oversized:
            return Outcome.CLOSED
        if self.status != expect_status:
            return of_status(self.status, self._body)
        if oversized or (expect_body is not None and expect_body not in self._body):
            return Outcome.WRONG_BODY
        if expect_type is not None and self._type.partition(b";")[0].strip().lower() != expect_type:
            return Outcome.WRONG_BODY
        return Outcome.OK

    def on_message_begin(self) -> None:
        """Start of an answer, by the parser. A second one was not asked for: such a connection is not kept."""
        if self._complete:
            self.keep = False

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header, by the parser."""
        if self._complete:
            return
        name = name.lower()
        if name == self._upstreams.raw:
            self.upstream = self._upstreams.port(value)
        elif name in (b"content-length", b"transfer-encoding"):
            self._framed = True
        elif name == b"content-type":
            self._type = value

    def on_headers_complete(self) -> None:
        """End of the headers, by the parser."""
        if self._parser is not None and not self._complete:
            self.status = self._parser.get_status_code()
            self._headed = True

    def on_body(self, data: bytes) -> None:
        """Take a decoded part of the body from the parser."""
        if not self._complete:
            self._body += data

    def on_message_complete(self) -> None:
        """End of an answer, by the parser. An interim one (1xx) is not the answer."""
        if 100 <= self.status < 200 and self.status != 101:
            self._headed = self._framed = False
        elif self._parser is not None and not self._complete:
            self._complete = True
            self.keep = self._parser.should_keep_alive()
