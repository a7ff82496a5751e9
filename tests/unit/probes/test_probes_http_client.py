from __future__ import annotations

import gc

import pytest

from harness.probes.http_client import MAX_ANSWER_BYTES, Answer, request_bytes
from harness.probes.plan import LanePlan
from harness.records import Outcome
from harness.upstreams import Upstreams, port_of

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Chaos-Upstream: 10.0.0.1:3001\r\n\r\nOK"
GONE = (
    b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 130\r\n\r\n"
    b'{"message":"An internal error occurred. Please try again or contact the system administrator.",'
    b'"detail":"Internal error fetching"}'
)
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nO\r\n1\r\nK\r\n0\r\n\r\n"


def read(data: bytes, *, step: int = 1 << 20, eof: bool = False) -> Answer:
    answer = Answer(Upstreams())
    for at in range(0, len(data), step):
        answer.feed(data[at : at + step])
    if eof and not answer.ended:
        answer.feed_eof()
    return answer


@pytest.mark.parametrize("step", [1, 7, 1 << 20])
@pytest.mark.parametrize(
    ("data", "eof", "outcome", "keep"),
    [
        (OK, False, Outcome.OK, True),
        (CHUNKED, False, Outcome.OK, True),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + OK, False, Outcome.OK, True),
        (OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"), False, Outcome.OK, False),
        (OK.replace(b"1.1", b"1.0"), False, Outcome.OK, False),
        (b"HTTP/1.1 200 OK\r\n\r\nOK until the end", True, Outcome.OK, False),
        (OK[:-1], True, Outcome.CLOSED, False),
        (OK[:20], True, Outcome.CLOSED, False),
        (CHUNKED[:-5], True, Outcome.CLOSED, False),
        (b"", True, Outcome.CLOSED, False),
        (OK.replace(b"OK", b"KO"), False, Outcome.WRONG_BODY, True),
        (OK.replace(b"200", b"503"), False, Outcome.SERVER_ERROR, True),
        (OK.replace(b"200", b"404"), False, Outcome.OTHER_STATUS, True),
        (OK.replace(b"200", b"302"), False, Outcome.OTHER_STATUS, True),
        (OK.replace(b"200", b"429"), False, Outcome.RATE_LIMITED, True),
        (OK.replace(b"200", b"401"), False, Outcome.UNAUTHORIZED, True),
        (GONE, False, Outcome.OTHER_STATUS, True),
        (b"HTTP/1.1 204 No Content\r\n\r\n", False, Outcome.OTHER_STATUS, True),
        (b"HTTP/1.1 101 Go\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n", True, Outcome.OTHER_STATUS, False),
        (b"<html>not HTTP</html>", False, Outcome.MALFORMED, False),
        (b"HTTP/1.1 200 OK\r\nContent-Length: two\r\n\r\n", False, Outcome.MALFORMED, False),
    ],
)
def test_outcome(data, eof, outcome, keep, step):
    answer = read(data, step=step, eof=eof)

    assert answer.ended
    assert (answer.outcome(200, b"OK"), answer.keep) == (outcome, keep)


@pytest.mark.parametrize(
    ("header", "outcome"),
    [
        (b"content-type: Application/JSON; charset=utf-8", Outcome.OK),
        (b"Content-Type: text/html", Outcome.WRONG_BODY),
        (b"Content-Type: application/json-patch", Outcome.WRONG_BODY),
        (b"X-Type: application/json", Outcome.WRONG_BODY),
    ],
)
def test_a_page_that_holds_the_text_is_not_the_api(header, outcome):
    answer = read(OK.replace(b"\r\n\r\n", b"\r\n" + header + b"\r\n\r\n"))
    assert answer.outcome(200, b"OK", b"application/json") is outcome
    assert answer.outcome(200, b"OK") is Outcome.OK


@pytest.mark.parametrize("rest", [b"garbage", OK.replace(b"200", b"500").replace(b"3001", b"3002")])
def test_what_follows_an_answer_does_not_change_it_but_costs_the_connection(rest):
    answer = read(OK + rest)

    assert answer.outcome(200, b"OK") is Outcome.OK
    assert (answer.status, answer.upstream, answer.keep) == (200, 3001, False)


@pytest.mark.parametrize("step", [1, 1 << 20])
def test_a_kept_connection_is_read_on_where_the_last_answer_ended(step):
    answer = read(OK, step=step)
    for data, outcome in [(CHUNKED, Outcome.OK), (OK.replace(b"200", b"500"), Outcome.SERVER_ERROR), (OK, Outcome.OK)]:
        answer.restart()
        assert not answer.ended
        for at in range(0, len(data), step):
            answer.feed(data[at : at + step])
        assert (answer.outcome(200, b"OK"), answer.keep) == (outcome, True)
        assert answer.upstream == (0 if data == CHUNKED else 3001)


@pytest.mark.parametrize("start", [b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n", b"HTTP/1.1 200 OK\r\nX: "])
def test_stops_reading_at_the_limit(start):
    answer = read(start + b"x" * MAX_ANSWER_BYTES, step=65536)

    assert answer.ended
    assert answer.outcome(200, None) is (Outcome.WRONG_BODY if b"Length" in start else Outcome.MALFORMED)


def test_answers_leave_nothing_for_the_collector():
    gc.collect()
    gc.disable()
    try:
        for _ in range(50):
            read(OK).release()
            read(OK[:-1], eof=True)
        assert gc.collect() == 0
    finally:
        gc.enable()


@pytest.mark.parametrize(
    ("value", "port"),
    [("10.0.0.1:3001", 3001), ("[::1]:3001", 3001), ("replica-a", 0), ("a:70000", 0), ("a:-1", 0), ("", 0), ("a:²", 0)],
)
def test_port_of_a_header(value, port):
    assert port_of(value) == port
    assert Upstreams().port(value) == Upstreams().port(value.encode("latin-1")) == port


def test_replicas_that_share_a_port_are_known_by_another():
    upstreams = Upstreams(ports={"coder-1:7080": 20001, "coder-2:7080": 20002})
    for value, port in (("coder-1:7080", 20001), (b"coder-2:7080", 20002), ("coder-3:7080", 7080), (b"", 0)):
        assert [upstreams.port(value) for _ in range(2)] == [port, port]


def test_values_without_end_are_not_all_remembered():
    upstreams = Upstreams()
    assert [upstreams.port(f"h{n}:80") for n in range(3000)] == [80] * 3000


def lane(**change: object) -> LanePlan:
    row = {"id": 0, "target": "t", "host": "h", "port": 80, "mode": "fresh", "path": "/p", "rate_hz": 1.0}
    return LanePlan(**{**row, "headers": {}, "expect_status": 200, "expect_body": None, **change})


def test_request_of_each_mode():
    assert request_bytes(lane(headers={"host": "coder.test", "X": "é"})) == (
        "GET /p HTTP/1.1\r\nHost: coder.test\r\nUser-Agent: coder-chaos-meter\r\n"
        "Accept: */*\r\nConnection: close\r\nX: é\r\n\r\n"
    ).encode("latin-1")
    assert b"\r\nConnection: keep-alive\r\n" in request_bytes(lane(mode="pinned"))
    assert b"\r\nHost: [::1]:80\r\n" in request_bytes(lane(host="::1"))
