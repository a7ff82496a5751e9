"""TLS over a wire: the standard library's TLS on memory buffers, so that our sockets, stamps and error numbers stay.

`dial` gives a plain wire or one under TLS; whoever uses it hears the same calls, `wire_open` once it is secured.
"""

from __future__ import annotations

import ssl
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Final

from harness.probes.plan_keys import PlanError
from harness.probes.tcp import EOF, TLS_FAILED, Wire

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop
    from collections.abc import Callable

    from harness.probes.plan_keys import Keys
    from harness.probes.tcp import Address, WireUser

_READ_BYTES: Final = 64 * 1024


@dataclass(frozen=True, slots=True)
class TlsPlan:
    """How to trust a server. `ca` is a PEM file, None for the system's; `server_name` None for the host dialled."""

    verify: bool = True
    ca: str | None = None
    server_name: str | None = None


@dataclass(frozen=True, slots=True)
class Tls:
    """Ready to dial with: certificates are loaded once, before the clock starts."""

    context: ssl.SSLContext
    server_name: str


def tls_plan(keys: Keys, key: str = "tls") -> TlsPlan | None:
    """Take `tls: null | {verify, ca, server_name}` out of a plan, each key optional. Raises PlanError."""
    inner = keys.optional_object(key)
    if inner is None:
        return None
    plan = TlsPlan(inner.flag("verify", default=True), inner.optional_text("ca"), inner.optional_text("server_name"))
    inner.done()
    return plan


def prepare_tls(plan: TlsPlan | None, host: str) -> Tls | None:
    """Load what a plan trusts; None for no TLS. Raises PlanError for what cannot be loaded or is no name."""
    if plan is None:
        return None
    tls = Tls(_context(plan.verify, plan.ca), plan.server_name or host)
    try:
        tls.context.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_hostname=tls.server_name)
    except ValueError:
        raise PlanError(f"plan: tls.server_name must be a host name or address, saw {tls.server_name!r}") from None
    return tls


@cache
def _context(verify: bool, ca: str | None) -> ssl.SSLContext:  # a cache takes it as it is
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.set_alpn_protocols(["http/1.1"])
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif ca is None:
        context.load_default_certs()
    else:
        try:
            context.load_verify_locations(ca)
        except ssl.SSLError:
            raise PlanError(f"plan: tls.ca has no PEM certificate in it: {ca}") from None
        except OSError as exc:
            raise PlanError(f"plan: tls.ca cannot be read: {ca}: {exc.strerror}") from None
    return context


def dial(
    loop: AbstractEventLoop,
    address: Address,
    user: WireUser,
    tls: Tls | None = None,
    handshake: Callable[[int], None] | None = None,
) -> Wire | TlsWire:
    """Dial at once, with or without TLS. Raises OSError when the dial fails on the spot.

    `handshake` hears when TCP is there and the handshake begins.
    """
    return Wire(loop, address, user) if tls is None else TlsWire(loop, address, user, tls, handshake)


class TlsWire:
    """Looks like a Wire to its user and is the user of one.

    `connected` is when TCP was there; `user.wire_open` comes when the handshake is done, and no write before it.
    """

    __slots__ = ("_handshake", "_incoming", "_outgoing", "_over", "_secured", "_tls", "_wire", "ragged", "user", "why")

    def __init__(
        self,
        loop: AbstractEventLoop,
        address: Address,
        user: WireUser,
        tls: Tls,
        handshake: Callable[[int], None] | None = None,
    ) -> None:
        self.user = user
        self.ragged = False
        self.why = ""
        """What was wrong with the certificate or the handshake."""
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = tls.context.wrap_bio(self._incoming, self._outgoing, server_hostname=tls.server_name)
        self._handshake = handshake
        self._secured = False
        self._over = False
        self._wire = Wire(loop, address, self)

    @property
    def connected(self) -> int:
        """When the TCP connection was there, 0 before."""
        return self._wire.connected

    def write(self, data: bytes) -> None:
        """Send bytes. A failure reaches `user.wire_lost` before this returns."""
        try:
            self._tls.write(data)
        except ssl.SSLError as exc:
            self._fail(exc)
            return
        self._flush()

    def close(self) -> None:
        """End in order, TLS first. The user hears nothing more. Closing twice is fine."""
        secured, self._secured, self._over = self._secured, False, True
        if secured:
            with suppress(ssl.SSLError):  # it would wait for the other side to agree, which we do not
                self._tls.unwrap()
            self._flush()
        self._wire.close()

    def abort(self) -> None:
        """End with a reset. The user hears nothing more."""
        self._secured, self._over = False, True
        self._wire.abort()

    def wire_open(self, now: int) -> None:
        """Begin the handshake."""
        handshake, self._handshake = self._handshake, None
        if handshake is not None:
            handshake(now)
        self._shake(now)

    def wire_data(self, data: bytes, now: int) -> None:
        """Take encrypted bytes."""
        self._incoming.write(data)
        if not self._secured:
            self._shake(now)
        if self._secured:
            self._read(now)

    def wire_lost(self, error: int) -> None:
        """Pass the end on. One that TLS announced was passed on when it was read."""
        if not self._over:
            self.ragged = error == EOF and self._secured
            self._secured = False
            self._end(error)

    def _shake(self, now: int) -> None:
        """Go on with the handshake, as far as what came allows."""
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            self._flush()
            return
        except ssl.SSLError as exc:
            self._flush()  # the alert that tells the server why
            self._fail(exc)
            return
        self._secured = True
        self._flush()
        if self._secured:  # the flush may have met a dead line
            self.user.wire_open(now)

    def _read(self, now: int) -> None:
        while self._secured:  # until what we pass on makes the user hang up
            try:
                data = self._tls.read(_READ_BYTES)
            except ssl.SSLWantReadError:
                self._flush()  # an answer to a key update, perhaps
                return
            except ssl.SSLZeroReturnError:
                data = b""
            except ssl.SSLError as exc:
                self._fail(exc)
                return
            if data:
                self.user.wire_data(data, now)
            else:
                self._end(EOF)

    def _flush(self) -> None:
        if data := self._outgoing.read():
            self._wire.write(data)

    def _fail(self, exc: ssl.SSLError) -> None:
        if not self._over:
            self.why = getattr(exc, "verify_message", "") or exc.reason or str(exc)
            self._end(TLS_FAILED)

    def _end(self, error: int) -> None:
        self.close()
        self.user.wire_lost(error)


AnyWire = Wire | TlsWire
