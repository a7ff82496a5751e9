"""The HTTP side of a simulated user: no hidden retry, bounded waits, a record of every request.

Importing this module changes geventhttpclient for the whole process, as a load process must have it.
"""

from __future__ import annotations

import json
import os
import sys
import time
from http.cookiejar import DefaultCookiePolicy
from itertools import count
from random import Random
from typing import TYPE_CHECKING, Any, ClassVar, cast

from geventhttpclient import client as http_client
from geventhttpclient.connectionpool import ConnectionPool
from locust import FastHttpUser, events
from locust.contrib.fasthttp import FastHttpSession, LocustBadStatusCode, ResponseContextManager
from locust.exception import CatchResponseError

from harness.records import Outcome

if TYPE_CHECKING:
    from collections.abc import Iterator

    from locust.env import Environment

    from loadtests._outcome import DialTimeoutError, of_error, of_status
    from loadtests._recorder import Recorder
    from loadtests._settings import Settings
else:  # Locust puts this folder on the path, not the one above it.
    from _outcome import DialTimeoutError, of_error, of_status
    from _recorder import Recorder
    from _settings import Settings

_RETRY = "_may_retry_after_send_error"
_DIAL = "_create_socket"


def _unmask() -> None:
    """Make geventhttpclient report what it would hide.

    Below `max_retries`, it sends a GET again when its connection dies in flight. A killed replica then costs nobody
    anything: of 99 requests lost on a server that kills every second one, 0 are reported. There is no public switch.
    It also raises one and the same error for a dial and for an answer that takes too long.
    """
    request, pool = http_client.HTTPClient.request, ConnectionPool
    # A function that exists and is no longer called would be as bad as one that is gone.
    if not hasattr(http_client, _RETRY) or _RETRY not in request.__code__.co_names or not hasattr(pool, _DIAL):
        raise ImportError(
            f"geventhttpclient no longer has client.{_RETRY} or ConnectionPool.{_DIAL}: lost requests would be sent"
            " again unseen. Install the version that coder-chaos pins"
        )
    setattr(http_client, _RETRY, lambda _method: False)
    dial = getattr(pool, _DIAL)

    def timed_dial(self: ConnectionPool) -> Any:
        try:
            return dial(self)
        except TimeoutError as error:
            raise DialTimeoutError(str(error)) from error

    setattr(pool, _DIAL, timed_dial)


_unmask()


class Answer(ResponseContextManager):
    """A response of `RecordedSession`. `js` is the decoded body, None if there is none."""

    js: Any


class RecordedSession(FastHttpSession):
    """A session that records the start and the end of every request, whoever sends it.

    An answer of the API that is not JSON counts as `WRONG_BODY`: proxies like to answer 200 with a page of their own.
    """

    recorder: Recorder | None = None
    upstream_header = ""

    def request(  # type: ignore[override]  # the keywords that are not used here pass through unnamed
        self, method: str, url: str, name: str | None = None, *, catch_response: bool = False, **kwargs: Any
    ) -> Answer:
        """Send a request as `FastHttpSession.request` does, and record it as `METHOD name`."""
        opened = self.recorder.start(f"{method} {name or url}") if self.recorder else None
        try:
            response = cast("Answer", super().request(method, url, name=name, catch_response=True, **kwargs))
        except Exception:
            # Nothing was sent: the URL or an argument is wrong. A user that is stopped in flight leaves no end at all.
            if self.recorder and opened:
                self.recorder.end(opened, Outcome.LOCAL_ERROR, at=time.monotonic_ns())
            raise
        ended = time.monotonic_ns()
        outcome = self._judge(response, url)
        if self.recorder and opened:
            self.recorder.end(
                opened,
                outcome,
                at=ended,
                status=response.status_code,
                upstream=_port(response, self.upstream_header),
                size=response.request_meta["response_length"],
            )
        if not catch_response:
            self.request_event.fire(**response.request_meta)
        return response

    def _judge(self, response: Answer, url: str) -> Outcome:
        """Outcome of `response`. Leaves the decoded body in it, and tells Locust's own tables what they miss."""
        response.js = None
        meta = response.request_meta
        error = meta["exception"]
        if error is not None and not isinstance(error, LocustBadStatusCode):
            return of_error(error)
        outcome = of_status(response.status_code)
        if outcome is Outcome.OK and response.status_code != 204 and "/api/" in url:
            try:
                response.js = json.loads(response.content)
            except ValueError:
                outcome = Outcome.WRONG_BODY
        if outcome is not Outcome.OK and error is None:
            meta["exception"] = CatchResponseError(f"{outcome.name} {response.status_code}")
        return outcome


class CoderUser(FastHttpUser):
    """A user with a token, a number, a random source and a connection pool of its own.

    Own pools matter: a shared one would spread the users over the replicas as one client, not as many.
    """

    abstract = True
    connection_timeout = 5.0
    network_timeout = 10.0
    max_retries = 0
    max_redirects = 0  # a redirect would carry the token to another host
    insecure = False

    client: RecordedSession
    settings: ClassVar[Settings]
    recorder: ClassVar[Recorder | None] = None
    numbers: ClassVar[Iterator[int]]

    def __init__(self, environment: Environment) -> None:
        self.number = next(self.numbers)
        self.random = Random(f"{self.settings.seed}:{self.number}")
        self.default_headers = self.settings.headers(self.number)
        super().__init__(environment)
        session = RecordedSession(
            base_url=self.host,
            request_event=environment.events.request,
            user=self,
            insecure=self.insecure,
            headers=self.default_headers,
            connection_timeout=self.connection_timeout,
            network_timeout=self.network_timeout,
            max_retries=self.max_retries,
            max_redirects=self.max_redirects,
        )
        session.cookiejar.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        session.recorder, session.upstream_header = self.recorder, self.settings.upstream_header
        self.client = session


def _prepare(environment: Environment, **_: object) -> None:
    try:
        settings = Settings.of(os.environ)
    except (ValueError, OSError) as error:
        sys.stderr.write(f"load: {error}\n")
        sys.exit(2)
    CoderUser.settings = settings
    CoderUser.numbers = count(settings.first_user)
    if settings.records:
        recorder = CoderUser.recorder = Recorder(settings.records)
        # After `quit` no user runs; `test_stop` would come before the last of them is killed.
        environment.events.quit.add_listener(lambda **_: recorder.close())  # type: ignore[no-untyped-call]


events.init.add_listener(_prepare)  # type: ignore[no-untyped-call]


def _port(response: Answer, header: str) -> int:
    """Port of the replica that the balancer names, 0 where it names none."""
    value = response.headers.get(header) if response.headers else None
    port = value.rpartition(":")[2] if isinstance(value, str) else ""
    return int(port) if port.isdecimal() and int(port) < 1 << 16 else 0
