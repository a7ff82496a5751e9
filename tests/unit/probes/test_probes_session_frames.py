from __future__ import annotations

import random
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode

from harness.probes.session_frames import MAX_MESSAGE, Frames


def frame(opcode: Opcode, data: bytes = b"", *, fin: bool = True) -> bytes:
    return Frame(opcode, data, fin).serialize(mask=False)


def clumsy(data: bytes) -> bytes:
    """A text frame that writes its length in the longest form, as no server should and some may."""
    return bytes([0x81, 127]) + struct.pack("!Q", len(data)) + data


MESSAGES = [
    (frame(Opcode.TEXT, b"hello"), [(Opcode.TEXT, b"hello")]),
    (frame(Opcode.BINARY, b"\xff" * 300), [(Opcode.TEXT, b"\xff" * 300)]),
    (frame(Opcode.TEXT, b"x" * 70_000), [(Opcode.TEXT, b"x" * 70_000)]),
    (frame(Opcode.PONG, b"12345678"), [(Opcode.PONG, b"12345678")]),
    (frame(Opcode.PING, b"?"), [(Opcode.PING, b"?")]),
    (
        frame(Opcode.TEXT, b"in ", fin=False) + frame(Opcode.PING) + frame(Opcode.CONT, b"parts"),
        [(Opcode.CONT, b""), (Opcode.PING, b""), (Opcode.TEXT, b"in parts")],
    ),
    (clumsy(b"long"), [(Opcode.TEXT, b"long")]),
]


def read_all(frames: Frames, chunks: list[bytes]):
    core, events, reply = None, [], b""
    for chunk in chunks:
        read = frames.read(core, chunk)
        core = read.core
        events += read.events
        reply += read.reply
    return events, reply, core


@given(st.lists(st.sampled_from(MESSAGES), min_size=1, max_size=6), st.lists(st.integers(1, 50), max_size=10))
def test_however_bytes_are_cut_the_messages_are_the_same(messages, cuts):
    data = b"".join(part for part, _ in messages)
    chunks, at = [], 0
    for cut in cuts:
        chunks.append(data[at : at + cut])
        at += cut
    chunks = [chunk for chunk in (*chunks, data[at:]) if chunk]
    events, _, _ = read_all(Frames(), chunks)
    assert events == [event for _, expected in messages for event in expected]


def test_between_messages_nothing_is_kept_and_the_core_is_lent_to_the_next():
    frames = Frames()
    for part, _ in MESSAGES[:-1]:
        assert frames.read(None, part).core is None
    assert frames.read(None, MESSAGES[-1][0]).core is not None, "a clumsy length may cost memory, never correctness"


def test_connections_do_not_mix():
    """Many connections, each cut anywhere, read in any order by one reader."""
    rng = random.Random(5)
    frames = Frames()
    streams = []
    for number in range(40):
        text = f"message of {number} ".encode() * rng.randrange(1, 30)
        streams.append([frame(Opcode.TEXT, text[:7], fin=False) + frame(Opcode.CONT, text[7:]), text, 0, None, []])
    while left := [stream for stream in streams if stream[2] < len(stream[0])]:
        stream = rng.choice(left)
        step = rng.randrange(1, 60)
        read = frames.read(stream[3], stream[0][stream[2] : stream[2] + step])
        stream[2] += step
        stream[3] = read.core
        stream[4] += [payload for opcode, payload in read.events if opcode is Opcode.TEXT]
    assert [stream[4] for stream in streams] == [[stream[1]] for stream in streams]


def test_a_ping_is_answered_by_its_own_connection():
    frames = Frames()
    first = frames.read(None, frame(Opcode.PING, b"one"))
    second = frames.read(None, frame(Opcode.TEXT, b"two"))
    assert first.reply[0] == 0x80 | Opcode.PONG
    assert second.reply == b""


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"\xff" * 20, 1002),
        (frame(Opcode.CONT, b"of nothing"), 1002),
        (Frame(Opcode.TEXT, b"masked").serialize(mask=True), 1002),
        (bytes([0x81, 127]) + struct.pack("!Q", 100 << 20) + b"x" * 100, 1009),
        (frame(Opcode.TEXT, b"x" * (MAX_MESSAGE - 1), fin=False) + frame(Opcode.CONT, b"xx"), 1009),
    ],
    ids=["no frame", "goes on with nothing", "masked", "said to be too long", "too long in pieces"],
)
def test_what_is_no_websocket_or_too_much_of_it_ends_with_a_code(data, code):
    frames = Frames()
    read = frames.read(None, data)
    assert (read.failed, read.core) == (code, None)
    assert read.reply[0] == 0x80 | Opcode.CLOSE
    assert frames.read(None, frame(Opcode.TEXT, b"next")).events == [(Opcode.TEXT, b"next")], (
        "a broken core is not lent"
    )


@pytest.mark.parametrize(("payload", "code"), [(struct.pack("!H", 1001) + b"bye", 1001), (b"", 1005)])
def test_a_close_has_its_code(payload, code):
    frames = Frames()
    read = frames.read(None, frame(Opcode.TEXT, b"last words") + frame(Opcode.CLOSE, payload))
    assert (read.closed, read.failed) == (code, None)
    assert read.events[0] == (Opcode.TEXT, b"last words")
    assert frames.read(None, frame(Opcode.PONG)).events == [(Opcode.PONG, b"")]
