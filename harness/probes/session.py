"""A session: a long-lived WebSocket that is dialled again after every drop, with a ledger row for each turn.

The frames are read by the sans-I/O core of `websockets`; the sockets, the clocks and the redial are ours, because no
client library tells a reset from an end of stream, nor dials when told and only then.
"""

from __future__ import annotations

import errno
from enum import Enum
from time import monotonic_ns
from typing import TYPE_CHECKING, Final

from websockets.frames import CloseCode, Opcode

from harness.probes.policies import draw
from harness.probes.session_dial import Refused, Upgrade, dial_error
from harness.probes.session_frames import Core, close, ping, text
from harness.probes.tcp import EOF, TLS_FAILED
from harness.probes.tls import dial

if TYPE_CHECKING:
    from harness.probes.kinds.base import Memo
    from harness.probes.session_plan import SessionPlan
    from harness.probes.sessions import Crew
    from harness.probes.tls import AnyWire

_SLICE: Final = 4096
"""Bytes read in one go: a flood of the smallest frames must be seen before it has cost the meter much."""
_SECOND: Final = 1_000_000_000
_FLOOD: Final = 2000
"""Frames in a second that are too many, be it of pings we must answer. A busy workspace makes a few."""
_CAUSES: Final = {EOF: "eof", TLS_FAILED: "tls"}


class State(Enum):
    """Where a session stands."""

    WAITING = 0
    DIALLING = 1
    OPEN = 2
    OVER = 3
    """Stopped by us, or its policy gave up."""


class Session:
    """One session. `start` begins, `stop` ends for good; all else follows from what its server does."""

    __slots__ = (
        "_attempt",
        "_core",
        "_crew",
        "_draws",
        "_frames",
        "_frames_since",
        "_next_ping",
        "_opened",
        "_path",
        "_pinged",
        "_upstream",
        "_waits",
        "_wire",
        "first",
        "last",
        "memo",
        "name",
        "slot",
        "state",
    )

    def __init__(self, plan: SessionPlan, crew: Crew) -> None:
        self.name = plan.id
        self.state = State.WAITING
        self.first = False
        """Whether this connection had a good message."""
        self.last = 0
        """When something good was last heard: an answer to the upgrade, a frame."""
        self.memo: Memo | None = crew.kind.begin()
        self.slot = 0
        self._crew = crew
        self._path = plan.path
        self._wire: AnyWire | None = None
        self._core: Upgrade | Core | None = None
        self._attempt = self._waits = self._draws = 0
        self._opened = False
        self._upstream = 0
        self._frames = self._frames_since = 0
        self._pinged = 0
        """When the ping was sent that is not answered yet, 0 if there is none."""
        self._next_ping = 0

    @property
    def beat_ns(self) -> int:
        """See `kinds.base.Live`."""
        return self._crew.beat_ns

    @property
    def patience_ns(self) -> int:
        """See `kinds.base.Live`."""
        return self._crew.ping_timeout_ns

    def start(self) -> None:
        """Dial for the first time."""
        if self.state is State.WAITING:
            self._dial(monotonic_ns())

    def stop(self) -> None:
        """Close for good. An open session gets its `stop` row; a dial under way just ends."""
        words = b""
        if self.state is State.OPEN:
            self._crew.ledger.stops += 1
            self._row(monotonic_ns(), "stop", upstream=self._upstream, **self._crew.kind.closing(self))
            words = close(CloseCode.NORMAL_CLOSURE)
        self._hang_up(words)
        self.state = State.OVER

    def wake(self, now: int) -> None:
        """Do what is due: the redial, the end of a dial's patience, the next ping or beat."""
        if self.state is State.WAITING:
            self._dial(now)
        elif self.state is State.DIALLING:
            self._refuse(now, "timeout")
        elif self.state is State.OPEN:
            self._turn(now)

    def wire_open(self, now: int) -> None:  # noqa: ARG002  # the answer is what counts
        """Ask for the upgrade, now that we are connected."""
        if isinstance(self._core, Upgrade):
            self.send(self._core.request(self._crew.headers))

    def wire_data(self, data: bytes, now: int) -> None:
        """Act on what came."""
        if self.state is State.DIALLING:
            data = self._answered(data, now)
        for at in range(0, len(data), _SLICE):
            if self.state is State.OPEN:
                self._read(data[at : at + _SLICE], now)

    def wire_lost(self, error: int) -> None:
        """End the session, or the dial, with its connection."""
        if self._wire is None:
            return  # we were hanging up, and its last words met a dead line
        self._wire = None
        now = monotonic_ns()
        if self.state is State.OPEN:
            self._drop(now, _CAUSES.get(error, "reset"), "server")
        else:
            self._refuse(now, _CAUSES.get(error) or dial_error(error))

    def good(self, now: int, **more: object) -> None:
        """See `kinds.base.Live`."""
        self._row(now, "event" if self.first else "first", **more)
        if not self.first:
            self.first = True
            self._crew.ledger.live += 1

    def bad(self, now: int, text: str) -> None:
        """See `kinds.base.Live`."""
        self._row(now, "error", text=text)

    def say(self, message: bytes) -> None:
        """See `kinds.base.Live`."""
        self.send(text(message))

    def send(self, data: bytes) -> None:
        """Send bytes, if there is a line."""
        if self._wire is not None:
            self._wire.write(data)

    def _dial(self, now: int) -> None:
        crew = self._crew
        self._attempt += 1
        self.state = State.DIALLING
        crew.tools.dialling += 1
        self._row(now, "dial", attempt=self._attempt)
        crew.tools.wheel.set(self, now + crew.dial_timeout_ns)
        self._core = crew.upgrade(self._path)
        try:
            self._wire = dial(crew.tools.loop, crew.address, self, crew.tls)
        except OSError as exc:
            self._refuse(now, dial_error(exc.errno or errno.EIO))

    def _answered(self, data: bytes, now: int) -> bytes:
        """Take bytes of the answer to the upgrade; give those behind it, if it was a yes."""
        upgrade = self._core
        if not isinstance(upgrade, Upgrade):
            return b""
        try:
            rest = upgrade.read(data, self._crew.tools.upstreams)
        except Refused as no:
            self._refuse(now, no.why, no.status)
            return b""
        if rest is None:
            return b""
        crew = self._crew
        crew.tools.dialling -= 1
        crew.ledger.opens += 1
        self.state, self._core, self._upstream, self._opened = State.OPEN, None, upgrade.upstream, True
        self._attempt = self._waits = 0
        self.last = now
        self._row(now, "open", upstream=self._upstream)
        self._next_ping = now if crew.kind.pings_at_once else now + crew.ping_every_ns
        crew.kind.opened(self, now)
        if self.state is State.OPEN:  # its first words may have met a dead line
            self._turn(now)
        return rest

    def _read(self, data: bytes, now: int) -> None:
        kept = self._core if isinstance(self._core, Core) else None
        read = self._crew.tools.frames.read(kept, data)
        self._core = read.core
        if now - self._frames_since > _SECOND:
            self._frames, self._frames_since = 0, now
        self._frames += len(read.events)
        for opcode, payload in read.events:
            if self.state is not State.OPEN:
                return
            self.last = now
            if opcode is Opcode.PONG:
                if self._pinged and payload == self._pinged.to_bytes(8, "big"):
                    self._pinged = 0
                self._crew.kind.ponged(self, now)
            elif opcode is Opcode.TEXT:
                self._crew.kind.message(self, payload, now)
        if self.state is State.OPEN:
            self._settle(now, read.closed, read.failed, read.reply)

    def _settle(self, now: int, closed: int | None, failed: int | None, reply: bytes) -> None:
        """End the connection if what was read says so, else answer."""
        if closed is not None:
            self._drop(now, "close", "server", closed, reply)
        elif failed is not None:  # not WebSocket, or too much of it: the reply says so
            self._drop(now, "close", "client", failed, reply)
        elif self._frames > _FLOOD:
            self._drop(now, "flood", "client", CloseCode.POLICY_VIOLATION, close(CloseCode.POLICY_VIOLATION))
        elif reply:
            self.send(reply)

    def _turn(self, now: int) -> None:
        """Say what is due on an open line, and sleep until the next thing is."""
        crew = self._crew
        if self._pinged and now - self._pinged >= crew.ping_timeout_ns:
            self._drop(now, "silent", "client")
            return
        if not self._pinged and now >= self._next_ping:
            self._pinged = now
            self._next_ping = now + crew.ping_every_ns
            self.send(ping(now.to_bytes(8, "big")))
        if self.memo is not None and self.state is State.OPEN and now >= self.memo.due:
            crew.kind.beat(self, now)
        if self.state is State.OPEN:  # what was sent may have met a dead line
            due = min(self._next_ping, self._pinged + crew.ping_timeout_ns) if self._pinged else self._next_ping
            if due <= now:  # its pong is late, and the next ping waits for it
                due = self._pinged + crew.ping_timeout_ns
            crew.tools.wheel.set(self, due if self.memo is None else min(due, self.memo.due))

    def _drop(self, now: int, cause: str, initiator: str, code: int | None = None, words: bytes = b"") -> None:
        crew = self._crew
        crew.ledger.drops += 1
        facts = {"cause": cause, "code": code, "initiator": initiator, "upstream": self._upstream, "last_ns": self.last}
        self._row(now, "drop", **facts, **crew.kind.closing(self))
        self._hang_up(words)
        self._leave(now, crew.policy.gives_up(code=code if initiator == "server" else None))

    def _refuse(self, now: int, why: str, status: int | None = None) -> None:
        self._row(now, "refused", why=why)
        self._hang_up()
        self._leave(now, self._crew.policy.gives_up(status=status, opened=self._opened))

    def _leave(self, now: int, why: str | None) -> None:
        """Wait as the policy says, or for ever."""
        if why is not None:
            self.state = State.OVER
            self._row(now, "gaveup", why=why)
            return
        crew = self._crew
        self.state = State.WAITING
        pause_s = crew.policy.pause_s(self._waits, draw(crew.tools.seed, self.name, self._draws))
        self._waits += 1
        self._draws += 1
        crew.tools.wheel.set(self, now + int(pause_s * 1e9))

    def _hang_up(self, words: bytes = b"") -> None:
        crew = self._crew
        if self.state is State.DIALLING:
            crew.tools.dialling -= 1
        wire, self._wire = self._wire, None
        if wire is not None:
            if words:
                wire.write(words)
            wire.close()
        crew.tools.wheel.clear(self)
        crew.ledger.live -= self.first
        self.first = False
        self._core = None
        self._upstream = self._pinged = self._frames = self._frames_since = 0

    def _row(self, at: int, ev: str, **more: object) -> None:
        crew = self._crew
        crew.ledger.row(at, ev, more, session=self.name, policy=crew.policy.name, kind=crew.kind.name)
