"""One non-blocking TCP connection on the event loop, with the system's own error numbers.

Sockets and readiness callbacks, no streams and no transports: a fresh probe stays cheap, and every way to end keeps its
errno, which is what the outcome classes are made of.
"""

from __future__ import annotations

import errno
import os
import socket
from struct import pack
from time import monotonic_ns
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from harness.probes.plan_keys import PlanError

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop

EOF: Final = 0
"""In place of an errno: the other side ended its stream in order."""

LOCAL_ERRORS: Final = frozenset(
    {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL, errno.EACCES, errno.EPERM},
)
"""Our own side has no descriptor, memory, port or right: says nothing about the server."""

_READ_BYTES: Final = 64 * 1024
_RESET_ON_CLOSE: Final = pack("ii", 1, 0)


class Address(NamedTuple):
    """Where to connect: a socket family and the address it takes."""

    family: int
    sockaddr: tuple[str, int] | tuple[str, int, int, int]


def resolve(host: str, port: int) -> Address:
    """Look a name up, once and before the clock starts: a slow name server must not look like a slow target.

    Raises PlanError when there is no such name.
    """
    try:
        family, _, _, _, sockaddr = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except OSError as exc:
        raise PlanError(f"plan: cannot resolve host {host!r}: {exc.strerror}") from None
    return Address(family, sockaddr)  # type: ignore[arg-type]  # the bytes form is for other families


class WireUser(Protocol):
    """Who hears from a wire. Stamps are CLOCK_MONOTONIC nanoseconds."""

    def wire_open(self, now: int) -> None:
        """Hear that it is connected: `Wire.write` works from here on."""

    def wire_data(self, data: bytes, now: int) -> None:
        """Take some bytes that came."""

    def wire_lost(self, error: int) -> None:
        """Hear that it ended without us: an errno, or EOF. Nothing follows, the socket is closed."""


class Wire:
    """Dials at once and tells `user`, which may be exchanged while the wire lives.

    Raises OSError when the dial fails on the spot, for example without a free file descriptor.
    """

    __slots__ = ("_address", "_loop", "_sock", "_unsent", "user")

    def __init__(self, loop: AbstractEventLoop, address: Address, user: WireUser) -> None:
        self.user = user
        self._loop = loop
        self._address = address
        self._unsent = b""
        self._sock = socket.socket(address.family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            error = self._sock.connect_ex(address.sockaddr)
            if error not in (0, errno.EINPROGRESS):
                raise OSError(error, os.strerror(error))  # noqa: TRY301  # one exit closes the socket
            loop.add_writer(self._sock, self._dialled)
        except OSError:
            self._sock.close()
            raise

    @property
    def unsent(self) -> int:
        """Bytes that wait for room: the other side does not read them."""
        return len(self._unsent)

    def write(self, data: bytes) -> None:
        """Send bytes, now or when there is room. A failure reaches `user.wire_lost` before this returns."""
        if self._unsent:
            self._unsent += data
            return
        self._send(data)

    def close(self) -> None:
        """End in order. The user hears nothing more. Closing twice is fine."""
        if self._sock.fileno() >= 0:
            self._loop.remove_reader(self._sock)
            self._loop.remove_writer(self._sock)
            self._sock.close()

    def abort(self) -> None:
        """End with a reset, so that nothing of it lingers in the kernel. The user hears nothing more."""
        if self._sock.fileno() >= 0:
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            self.close()

    def _dialled(self) -> None:
        now = monotonic_ns()
        error = self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if not error and self._sock.getsockname()[:2] == self._address.sockaddr[:2]:
            # A dial to a free port of this host can be given that very port and then meets itself. Nobody listens
            # there, and holding the port would keep the real server from coming back.
            error = errno.ECONNREFUSED
        if error:
            self._lose(error)
            return
        self._loop.remove_writer(self._sock)
        self._loop.add_reader(self._sock, self._readable)
        self.user.wire_open(now)

    def _readable(self) -> None:
        try:
            data = self._sock.recv(_READ_BYTES)
        except BlockingIOError:
            return
        except OSError as exc:
            self._lose(exc.errno or errno.EIO)
            return
        if data:
            self.user.wire_data(data, monotonic_ns())
        else:
            self._lose(EOF)

    def _writable(self) -> None:
        self._loop.remove_writer(self._sock)
        data, self._unsent = self._unsent, b""
        self._send(data)

    def _send(self, data: bytes) -> None:
        try:
            sent = self._sock.send(data)
        except BlockingIOError:
            sent = 0
        except OSError as exc:
            self._lose(exc.errno or errno.EIO)
            return
        if sent < len(data):
            self._unsent = data[sent:]
            self._loop.add_writer(self._sock, self._writable)

    def _lose(self, error: int) -> None:
        if error == EOF:
            self.close()
        else:
            self.abort()
        self.user.wire_lost(error)
