"""One non-blocking TCP connection on the event loop, with the system's own error numbers.

Sockets and readiness, no streams and no transports: a fresh probe stays cheap, and every way to end keeps its errno,
which is what the outcome classes are made of.
"""

from __future__ import annotations

import errno
import os
import socket
from pathlib import Path
from struct import pack
from time import monotonic_ns
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from harness.probes.plan_keys import PlanError
from harness.probes.poller import FAILED, READ, WRITE, poller_of

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop

EOF: Final = 0
"""In place of an errno: the other side ended its stream in order."""

TLS_FAILED: Final = -1
"""In place of an errno: the certificate was refused, or the TLS of either side gave up."""

LOCAL_ERRORS: Final = frozenset(
    {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL, errno.EACCES, errno.EPERM},
)
"""Our own side has no descriptor, memory, port or right: says nothing about the server."""

_KIND: Final = socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
_READ_BYTES: Final = 64 * 1024
_RESET_ON_CLOSE: Final = pack("ii", 1, 0)
_EPHEMERAL: Final = tuple(map(int, Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()))


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

    __slots__ = ("_address", "_fd", "_poller", "_sock", "_unsent", "connected", "user")

    ragged = False
    """Whether the stream ended without the mark that says it is whole. TCP alone has no such mark."""

    def __init__(self, loop: AbstractEventLoop, address: Address, user: WireUser) -> None:
        self.user = user
        self.connected = 0
        """When the connection was there, 0 before."""
        self._poller = poller_of(loop)
        self._address = address
        self._unsent = b""
        self._sock = socket.socket(address.family, _KIND)
        self._fd = self._sock.fileno()
        """Descriptor, -1 once closed."""
        try:
            error = self._sock.connect_ex(address.sockaddr)
            if error not in (0, errno.EINPROGRESS):
                raise OSError(error, os.strerror(error))  # noqa: TRY301  # one exit closes the socket
            self._poller.add(self._fd, WRITE, self)
        except OSError:
            self._sock.close()
            raise

    def write(self, data: bytes) -> None:
        """Send bytes, now or when there is room. A failure reaches `user.wire_lost` before this returns."""
        if self._unsent:
            self._unsent += data
        elif self._fd >= 0:
            self._send(data)

    def close(self) -> None:
        """End in order. The user hears nothing more. Closing twice is fine."""
        if self._fd >= 0:
            self._poller.forget(self._fd)
            self._fd = -1
            self._sock.close()

    def abort(self) -> None:
        """End with a reset, so that nothing of it lingers in the kernel. The user hears nothing more."""
        if self._fd >= 0:
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            self.close()

    def ready(self, event: int) -> None:
        """Hear from the poller."""
        if self._fd < 0:
            return
        if not self.connected:
            self._dialled(event)
        elif event & WRITE and self._unsent:
            self._writable()
        else:
            self._readable()

    def _dialled(self, event: int) -> None:
        now = monotonic_ns()
        error = self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) if event & FAILED else 0
        if not error and self._met_itself():
            error = errno.ECONNREFUSED
        if error:
            self._lose(error)
            return
        self.connected = now
        # Only what is sent in one piece is never held back for an acknowledgement, so this is for all that follows.
        self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._poller.modify(self._fd, READ)
        self.user.wire_open(now)

    def _met_itself(self) -> bool:
        """Whether a dial to a free port of this host was given that very port.

        Nobody listens there, and holding the port would keep the real server from coming back.
        """
        port = self._address.sockaddr[1]
        return _EPHEMERAL[0] <= port <= _EPHEMERAL[1] and self._sock.getsockname()[:2] == self._address.sockaddr[:2]

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
        self._poller.modify(self._fd, READ)
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
            self._poller.modify(self._fd, READ | WRITE)

    def _lose(self, error: int) -> None:
        if error == EOF:
            self.close()
        else:
            self.abort()
        self.user.wire_lost(error)
