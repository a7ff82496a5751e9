"""The HTTP session that records what a simulated user does, and heeds what it is told."""

from __future__ import annotations

import json
import logging
import time
from typing import TYPE_CHECKING, Any, Final, cast

from gevent import getcurrent
from locust.contrib.fasthttp import FastHttpSession, LocustBadStatusCode, ResponseContextManager
from locust.exception import CatchResponseError

from harness.records import Outcome

if TYPE_CHECKING:
    from geventhttpclient.header import Headers

    from loadtests._outcome import of_error, of_status
    from loadtests._recorder import Recorder
else:  # Locust puts this folder on the path, not the one above it.
    from _outcome import of_error, of_status

BYPASS: Final = "X-Coder-Bypass-Ratelimit"
LONGEST_HOLD_S: Final = 60.0
"""Coder's limits count one minute (coderd/httpmw/ratelimit.go), so no honest Retry-After is longer."""

_MORE = "give the users more tokens (CHAOS_LOAD_TOKENS), or an owner's token and CHAOS_LOAD_BYPASS=1"
_log = logging.getLogger("load")
_said: set[str] = set()


def say_once(key: str, text: str) -> None:
    """Log a warning the first time that `key` comes up in this process."""
    if key not in _said:
        _said.add(key)
        _log.warning(text)


class Answer(ResponseContextManager):
    """A response of `RecordedSession`. `js` is the decoded body, None if there is none."""

    js: Any
    headers: Headers


class RecordedSession(FastHttpSession):
    """A session that records the start and the end of every request, whoever sends it.

    An answer of the API that is not JSON counts as `WRONG_BODY`: proxies like to answer 200 with a page of their own.
    """

    recorder: Recorder | None = None
    bypass = False
    """Whether the token was seen to be an owner's, so that the limits can be lifted with `BYPASS`."""
    user: Any
    hold_until = 0.0
    """Monotonic seconds before which a closed user asks nothing: a 429 said so."""

    def request(  # type: ignore[override]  # the keywords that are not used here pass through unnamed
        self, method: str, url: str, name: str | None = None, *, catch_response: bool = False, **kwargs: Any
    ) -> Answer:
        """Send a request as `FastHttpSession.request` does, and record it as `METHOD name`.

        The first request of an arrival counts from the moment at which the arrival was due, here and in Locust's tables.
        """
        arrival = getcurrent()
        due = getattr(arrival, "due_ns", 0)
        if self.hold_until and not due:
            self._hold()
        if self.bypass:
            kwargs["headers"] = {**(kwargs.get("headers") or {}), BYPASS: "true"}
        recorder, late, opened = self.recorder, 0, None
        started = time.monotonic_ns()
        if due:
            late, arrival.due_ns = started - due, 0
            kwargs["context"] = {**kwargs.get("context", {}), "due_ns": due}
        if recorder is not None:
            opened = recorder.start(method, name or url, started, late)
        try:
            response = cast("Answer", super().request(method, url, name=name, catch_response=True, **kwargs))
        except Exception:
            # Nothing was sent: the URL or an argument is wrong. A user that is stopped in flight leaves no end at all.
            if recorder is not None and opened is not None:
                recorder.end(opened, Outcome.LOCAL_ERROR, time.monotonic_ns(), 0, 0, None)
            raise
        ended = time.monotonic_ns()
        outcome, status, meta = self._judge(response, url), response.status_code, response.request_meta
        if recorder is not None and opened is not None:
            recorder.end(opened, outcome, ended, status, meta["response_length"], response.headers)
        if late:
            meta["response_time"] += late / 1e6
            meta["start_time"] -= late / 1e9
        if not catch_response:
            self.request_event.fire(**meta)
        return response

    def _judge(self, response: Answer, url: str) -> Outcome:
        """Outcome of `response`. Leaves the decoded body in it, and tells Locust's own tables what they miss."""
        response.js = None
        meta = response.request_meta
        error = meta["exception"]
        if error is not None and not isinstance(error, LocustBadStatusCode):
            return of_error(error)
        status = response.status_code
        if not 200 <= status < 300:
            outcome = of_status(status, response.content or b"")
            self._heed(response, outcome, meta["name"])
        else:
            outcome = Outcome.OK
            if status != 204 and "/api/" in url:
                try:
                    response.js = json.loads(response.content)
                except ValueError:
                    outcome = Outcome.WRONG_BODY
            if response.headers.get("x-ratelimit-remaining") == "0":
                say_once("limit", f"{meta['name']}: {_limit(response)} are used up and the next are refused; {_MORE}")
        if outcome is not Outcome.OK and error is None:
            meta["exception"] = CatchResponseError(f"{outcome.name} {status}")
        return outcome

    def _heed(self, response: Answer, outcome: Outcome, name: str) -> None:
        """Act on a refusal that our own side has caused, and say once what to do about it."""
        if outcome is Outcome.RATE_LIMITED:
            told = response.headers.get("retry-after")
            seconds = float(told) if isinstance(told, str) and told.isdecimal() else 1.0
            self.hold_until = time.monotonic() + min(seconds, LONGEST_HOLD_S)
            text = f"{name}: 429, {_limit(response)} were exceeded; closed users wait {seconds:g} s, open ones go on"
            say_once("429", f"{text}. {_MORE}")
        elif outcome is Outcome.UNAUTHORIZED:
            say_once("401", f"{name}: 401, a token is not valid or has expired; `coder tokens create` makes a new one")
        elif response.status_code == 428 and self.bypass:
            self.bypass = False
            say_once("428", f"{name}: 428, the token is no owner's and the rate limits stay; unset CHAOS_LOAD_BYPASS")

    def _hold(self) -> None:
        left = self.hold_until - time.monotonic()
        self.hold_until = 0.0
        if left > 0:
            self.user.stay(left)


def _limit(response: Answer) -> str:
    return f"the {response.headers.get('x-ratelimit-limit') or '?'} requests per minute of one user and route"
