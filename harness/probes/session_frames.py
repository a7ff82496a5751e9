"""Reading frames for thousands of idle sessions with hardly any state: cores are lent, not owned.

Between two frames a WebSocket has nothing to remember. So one sans-I/O core of `websockets` reads for everybody, and a
session keeps one only while it is in the middle of a frame or of a message in parts. (One core each costs 4 kB.)
"""

from __future__ import annotations

import logging
from typing import Final, NamedTuple

from websockets.frames import Close, CloseCode, Frame, Opcode
from websockets.protocol import CLIENT, OPEN, Protocol

MAX_MESSAGE: Final = 1 << 20
"""Bytes of one message, in however many parts. More is a drop with 1009 by us: our memory is bounded."""

QUIET: Final = logging.getLogger("harness.probes.session")
QUIET.disabled = True  # what a server does wrong is a ledger row, not a log line


class Core(Protocol):
    """A core that knows how many bytes of an unfinished frame it holds."""

    def __init__(self) -> None:
        super().__init__(CLIENT, state=OPEN, max_size=MAX_MESSAGE, logger=QUIET)
        self.owed = 0
        self.parts: list[bytes] = []


class Read(NamedTuple):
    """What some bytes meant. `events` are (opcode, payload), a message in parts is CONT until it is whole.

    `core` is to be kept until the next bytes, `reply` to be sent, `failed` the close code with which we end it.
    """

    core: Core | None
    events: list[tuple[Opcode, bytes]]
    reply: bytes
    closed: int | None = None
    failed: int | None = None


class Frames:
    """Reads bytes of any connection."""

    def __init__(self) -> None:
        self._spare: Core | None = Core()

    def read(self, kept: Core | None, data: bytes) -> Read:
        """Read the next bytes of a connection; `kept` is the core its last read left behind."""
        core = kept or self._spare or Core()
        if core is self._spare:
            self._spare = None
        core.receive_data(data)
        core.owed += len(data)
        events = [self._event(core, frame) for frame in core.events_received() if isinstance(frame, Frame)]
        reply = b"".join(core.data_to_send())
        if core.close_rcvd is not None:
            return Read(None, events, reply, closed=core.close_rcvd.code)
        if core.parser_exc is not None:
            code = CloseCode.PROTOCOL_ERROR if core.close_sent is None else core.close_sent.code
            return Read(None, events, reply, failed=code)
        if core.owed or core.parts:
            return Read(core, events, reply)
        self._spare = core
        return Read(None, events, reply)

    def _event(self, core: Core, frame: Frame) -> tuple[Opcode, bytes]:
        data = bytes(frame.data)
        # Its shortest form. A server that uses a longer one leaves a rest, and keeps its core: only memory, no error.
        core.owed -= len(data) + (2 if len(data) < 126 else 4 if len(data) < 1 << 16 else 10)
        if frame.opcode in (Opcode.PING, Opcode.PONG, Opcode.CLOSE):
            return frame.opcode, data
        core.parts.append(data)
        if not frame.fin:
            return Opcode.CONT, b""
        data = core.parts[0] if len(core.parts) == 1 else b"".join(core.parts)
        core.parts.clear()
        return Opcode.TEXT, data


def ping(payload: bytes) -> bytes:
    """Write a ping."""
    return Frame(Opcode.PING, payload).serialize(mask=True)


def text(message: bytes) -> bytes:
    """Write a text message."""
    return Frame(Opcode.TEXT, message).serialize(mask=True)


def close(code: int) -> bytes:
    """Write a close."""
    return Frame(Opcode.CLOSE, Close(code, "").serialize()).serialize(mask=True)
