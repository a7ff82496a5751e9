from __future__ import annotations

import os
import socket
from contextlib import ExitStack

import pytest

from harness.safety.wire import Channel, close_all


@pytest.fixture
def ends():
    with ExitStack() as stack:
        left, right = (Channel(end) for end in socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET))
        stack.callback(left.close)
        stack.callback(right.close)
        yield left, right


def test_messages_keep_their_bounds_and_bring_their_files(ends) -> None:
    left, right = ends
    reader, writer = os.pipe()
    left.put({"a": 1}, [writer])
    left.put({"b": "x" * 100_000})
    message, fds = right.get()
    assert message == {"a": 1}
    os.write(fds[0], b"through")
    assert os.read(reader, 100) == b"through"
    assert not os.get_inheritable(fds[0])
    close_all([*fds, reader, writer])
    assert right.get() == ({"b": "x" * 100_000}, [])
    with pytest.raises(BlockingIOError):
        right.get()


def test_a_peer_that_does_not_read_blocks_nobody_and_loses_nothing(ends) -> None:
    left, right = ends
    sent = 0
    while not left.backlog:
        left.put({"n": sent, "fill": "x" * 10_000})
        sent += 1
    left.put({"n": sent})
    taken = []
    while len(taken) <= sent:
        taken.append(right.get()[0]["n"])
        left.flush()
    assert taken == list(range(sent + 1))
    assert not left.backlog


def test_what_no_packet_can_hold_is_refused(ends) -> None:
    left, _ = ends
    with pytest.raises(ValueError, match="exceeds"):
        left.put({"a": "x" * (1 << 21)})
    with pytest.raises(ValueError, match="17 files"):
        left.put({}, [0] * 17)
    assert not left.backlog


def test_the_end_is_seen_by_both_and_sending_into_it_is_quiet(ends) -> None:
    left, right = ends
    right.put({"last": True})
    right.close()
    assert left.get() == ({"last": True}, [])
    with pytest.raises(EOFError):
        left.get()
    left.put({"a": 1})
    assert not left.backlog


def test_only_objects_are_messages() -> None:
    raw, end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    channel = Channel(end)
    with raw, end:
        for packet in (b"{", b"[1]"):
            raw.send(packet)
            with pytest.raises(ValueError, match=r"."):
                channel.get()
