"""The control channel between harness and keeper: one JSON object per packet, open files passed beside it.

Neither end ever blocks: what the socket does not take waits in line. Standard library only: the keeper imports this.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import socket
from collections import deque
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

_WANTED_BYTES = 1 << 20
_MAX_FDS = 16
_OVERHEAD_BYTES = 64  # the kernel wants a few bytes of the buffer for itself


class Channel:
    """One end of the channel. Owns the socket."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _WANTED_BYTES)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _WANTED_BYTES)
        self._sock = sock
        self._limit = min(_WANTED_BYTES, sock.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) - _OVERHEAD_BYTES)
        self._waiting: deque[tuple[bytes, tuple[int, ...]]] = deque()

    def fileno(self) -> int:
        """Give the descriptor to select on."""
        return self._sock.fileno()

    @property
    def backlog(self) -> bool:
        """True while something waits for the socket to take it: select for writing, then `flush`."""
        return bool(self._waiting)

    def put(self, message: dict[str, Any], fds: Sequence[int] = ()) -> None:
        """Send a message, now or as soon as `flush` can; raises ValueError if it is too large or has too many fds.

        `fds` must stay open until the other side has answered.
        """
        packet = json.dumps(message, separators=(",", ":")).encode()
        if len(packet) > self._limit or len(fds) > _MAX_FDS:
            size, limit = f"{len(packet)} bytes, {len(fds)} files", f"{self._limit} bytes, {_MAX_FDS} files"
            raise ValueError(f"a message of {size} exceeds {limit}")
        self._waiting.append((packet, tuple(fds)))
        self.flush()

    def flush(self) -> None:
        """Send what waits, as far as the socket takes it. A peer that is gone is noticed by `get`, not here."""
        while self._waiting:
            packet, fds = self._waiting[0]
            try:
                socket.send_fds(self._sock, [packet], fds)
            except BlockingIOError:
                return
            except (BrokenPipeError, ConnectionResetError):
                self._waiting.clear()
                return
            self._waiting.popleft()

    def get(self) -> tuple[dict[str, Any], list[int]]:
        """Take one message and the files beside it, which the caller must close.

        Raises BlockingIOError if there is none yet, EOFError once the peer is gone, ValueError if it is no JSON object.
        """
        try:
            packet, fds, _, _ = socket.recv_fds(self._sock, _WANTED_BYTES, _MAX_FDS)
        except OSError as error:
            if error.errno in (errno.ECONNRESET, errno.EPIPE, errno.EBADF):
                raise EOFError from error
            raise
        for fd in fds:
            os.set_inheritable(fd, False)  # recv_fds drops the flag that would ask the kernel for it
        try:
            return _decode(packet), fds
        except (ValueError, EOFError):
            close_all(fds)
            raise

    def close(self) -> None:
        """Close the socket; the other side sees the end."""
        self._sock.close()


def close_all(fds: Sequence[int]) -> None:
    """Close descriptors that were received."""
    for fd in fds:
        with contextlib.suppress(OSError):
            os.close(fd)


def _decode(packet: bytes) -> dict[str, Any]:
    if not packet:
        raise EOFError
    message = json.loads(packet)
    if not isinstance(message, dict):
        raise ValueError(f"not a JSON object: {packet[:80]!r}")  # noqa: TRY004  one error for every bad packet
    return message
