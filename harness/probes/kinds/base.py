"""What a kind of session is. One object serves every session of its kind; what is a session's own is its `memo`."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping


class Memo(Protocol):
    """What a kind keeps for one session: `due` is when it wants to speak next (monotonic ns)."""

    due: int


class Live(Protocol):
    """What a kind sees of an open session. Times are monotonic nanoseconds."""

    memo: Memo | None
    first: bool
    last: int

    @property
    def name(self) -> str:
        """The session's id."""

    @property
    def beat_ns(self) -> int:
        """How often to speak."""

    @property
    def patience_ns(self) -> int:
        """How long an answer may take on a line that lives."""

    def good(self, now: int, **more: object) -> None:
        """Write a good message down: the first one since the open, which means *back*, or another."""

    def bad(self, now: int, text: str) -> None:
        """Write down that a message was none of this kind, or an error that the server told."""

    def say(self, message: bytes) -> None:
        """Send a text message."""


class Kind:
    """A stream that only listens. `path` has a place for the workspace; see `harness.probes.kinds.*`."""

    name: ClassVar[str]
    path: ClassVar[str]
    pings_at_once: ClassVar[bool] = False
    """Whether the first ping goes out with the open, where a pong is all there is to wait for."""

    def begin(self) -> Memo | None:
        """Make what is kept for one session over all its connections, if anything."""
        return None

    def opened(self, session: Live, now: int) -> None:
        """Hear that the upgrade was accepted."""

    def message(self, session: Live, data: bytes, now: int) -> None:
        """Take a whole message."""
        raise NotImplementedError

    def ponged(self, session: Live, now: int) -> None:
        """Hear that our ping was answered."""

    def beat(self, session: Live, now: int) -> None:
        """Speak: `memo.due` has come."""

    def closing(self, session: Live) -> Mapping[str, object]:
        """Give the further fields of the row that ends a connection."""
        del session
        return {}
