"""What a modelled session says and hears, by kind: the real kinds of `harness.probes.kinds`, without their bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from harness.probes.kinds.echo import Numbers

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from harness.fake.store import Workspace
    from harness.fake.watchers import Watcher

ECHOES = 1
"""How often each message of an echo session comes back. Anything else is a bug, for tests."""
_BEAT_S = 1.0
_PATIENCE_S = 2.0


class Talk(Protocol):
    """One session's side of a stream."""

    def opened(self) -> None:
        """Hear that the upgrade was accepted."""

    def changed(self, workspace: Workspace) -> None:
        """Hear what the server knows anew."""

    def closing(self) -> Mapping[str, object]:
        """Give the further fields of the row that ends a connection."""


class _Watch:
    def __init__(self, session: Watcher) -> None:
        self._session = session

    def opened(self) -> None:
        behaviour, wait_s = self._session.site.behaviour, self._session.lately_cut_s()
        if wait_s and behaviour.closes_after_cut:
            self._session.on_server(0, self._session.closed_too_soon)
        elif behaviour.snapshot_s is not None:
            self._session.on_server(wait_s + behaviour.snapshot_s, self._message)

    def changed(self, workspace: Workspace) -> None:
        if workspace.id == self._session.spec.workspace:
            self._session.on_server(0, self._message)

    def closing(self) -> Mapping[str, object]:
        return {}

    def _message(self) -> None:
        workspace = self._session.site.store.workspaces.get(self._session.spec.workspace)
        if workspace is not None:
            last = workspace.builds[-1]
            self._session.good(build_number=last.number, build_status=last.status, updated_at="")


class _Inbox:
    """Nothing ever happens in it: only the pong after the open is heard."""

    def __init__(self, session: Watcher) -> None:
        self._session = session

    def opened(self) -> None:
        self._session.on_server(0, self._session.good)

    def changed(self, workspace: Workspace) -> None:
        pass

    def closing(self) -> Mapping[str, object]:
        return {}


class _Echo:
    def __init__(self, session: Watcher) -> None:
        self._session = session
        self._numbers = Numbers()

    def opened(self) -> None:
        self._numbers.renew()
        self._beat()

    def changed(self, workspace: Workspace) -> None:
        pass

    def closing(self) -> Mapping[str, object]:
        return self._numbers.counts(self._session.last, int(_BEAT_S * 1e9), int(_PATIENCE_S * 1e9))

    def _beat(self) -> None:
        number = self._numbers.next
        self._numbers.next += 1
        self._numbers.said_at = self._session.site.now_ns()
        for _ in range(ECHOES):
            self._session.on_server(0, lambda: self._back(number))
        self._session.later(_BEAT_S, self._beat)

    def _back(self, number: int) -> None:
        self._session.last = self._session.site.now_ns()
        if self._numbers.take(number) and not self._session.live:
            self._session.good(number=number)


def talk_of(session: Watcher) -> Talk:
    """Make the talk of a session's kind; raises KeyError for one that is not modelled."""
    known: dict[str, Callable[[Watcher], Talk]] = {"watch": _Watch, "inbox": _Inbox, "echo": _Echo}
    return known[session.spec.kind](session)
