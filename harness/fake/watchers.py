"""Sessions through the modelled balancer; every turn is a row as `harness.probes.session` writes it."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from harness.fake.talks import talk_of
from harness.probes.policies import POLICIES, draw

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.fake.life import FakeProcess, Life
    from harness.fake.replica import Replica
    from harness.fake.site import Site
    from harness.fake.store import Workspace
    from harness.stack import WatcherSpec

_DIAL_S = 2.0
_PING_S = 1.0
_SILENT_S = 2.0
_HOP_S = 0.002
_TOO_SOON = 1011
_GOODBYE, _BALANCERS_GOODBYE = 1000, 1001
"""Close codes of Coder and of Caddy when they leave in good order."""


class Watcher:
    """One session: dials the balancer again after every end, as its policy says."""

    def __init__(self, spec: WatcherSpec, site: Site, seed: int, write: Callable[[dict[str, Any]], None]) -> None:
        self.spec = spec
        self.site = site
        self._seed = seed
        self._write = write
        self._policy = POLICIES[spec.policy]
        self._talk = talk_of(self)
        self._turn = 0
        """Counts ends: what was set up before the last one means nothing any more."""
        self._attempt = self._waits = self._draws = 0
        self.replica: Replica | None = None
        self.open = False
        self.live = False
        self.last = 0
        self._over = False

    def dial(self) -> None:
        """Dial; rows say how it went."""
        if self._over:
            return
        self._attempt += 1
        self.row("dial", attempt=self._attempt)
        turn = self._turn
        self.later(_DIAL_S, lambda: self._refused("timeout"))
        self.site.balancer.process.life.after(_HOP_S, lambda: self._arrive(turn))
        if not self.site.balancer.accepts:
            self._refused("refused")

    def stop(self) -> None:
        """Close for good."""
        if self.open:
            self.row("stop", upstream=self._port, **self._talk.closing())
        self._over, self.open, self.live = True, False, False

    def changed(self, workspace: Workspace) -> None:
        """Send what the server knows now, in the time of the server."""
        if self.open:
            self._talk.changed(workspace)

    def good(self, **more: object) -> None:
        """Hear a good message."""
        self.last = self.site.now_ns()
        self.row("event" if self.live else "first", **more)
        self.live = True

    def on_server(self, delay_s: float, act: Callable[[], None]) -> None:
        """Act in the replica's time, unless this connection has ended by then."""
        turn = self._turn
        if self.replica is not None:
            self.replica.process.life.after(
                _HOP_S + delay_s, lambda: act() if turn == self._turn and self.open else None
            )

    def lately_cut_s(self) -> float:
        """Seconds for which the last cut of a watcher of this replica counts still."""
        cut = self.replica.now.cut_ns if self.replica is not None else None
        if cut is None:
            return 0.0
        return max(0.0, self.site.behaviour.cut_counts_s - (self.site.now_ns() - cut) / 1e9)

    def closed_too_soon(self) -> None:
        """Hear a close right after the open."""
        self._dropped("close", "server", self._turn, _TOO_SOON)

    def later(self, delay_s: float, act: Callable[[], None]) -> None:
        """Act in the client's own time, unless the session has ended by then."""
        turn = self._turn

        def due() -> None:
            if turn == self._turn and not self._over:
                act()

        self.site.loop.call_later(delay_s, due)

    def row(self, ev: str, **more: object) -> None:
        """Write a row."""
        names = {"session": self.spec.id, "policy": self.spec.policy, "kind": self.spec.kind}
        self._write({"t_ns": self.site.now_ns(), **names, "ev": ev} | more)

    @property
    def _port(self) -> int:
        return self.replica.process.address.port if self.replica else 0

    def _arrive(self, turn: int) -> None:
        if turn != self._turn or self._over:
            return
        replica = self.site.balancer.pick()
        if replica is None or not replica.healthy:
            self._refused("status:503" if replica is None else "status:502")
            return
        life = replica.process.life

        def answer() -> None:
            if turn != self._turn or self._over:
                return
            if replica.now.pool:
                self._opened(replica, life, turn)
            else:
                self._refused("status:500")

        life.ends.append(lambda: self._refused("status:502", turn))
        life.after(_HOP_S, answer)

    def _opened(self, replica: Replica, life: Life, turn: int) -> None:
        self.replica, self._attempt, self._waits, self.open = replica, 0, 0, True
        self.last = self.site.now_ns()
        self.row("open", upstream=self._port)
        for process, goodbye in ((replica.process, _GOODBYE), (self.site.balancer.process, _BALANCERS_GOODBYE)):
            process.life.ends.append(partial(self._lost, process, goodbye, turn))
        self._talk.opened()
        self.later(_PING_S, lambda: self._ping(life, turn))

    def _ping(self, life: Life, turn: int) -> None:
        if not life.frozen:
            self.last = self.site.now_ns()
            self.later(_PING_S, lambda: self._ping(life, turn))
            return
        answered: list[bool] = []
        life.when_awake(lambda: answered.append(True))

        def judge() -> None:
            if answered:
                self._ping(life, turn)
            else:
                self._dropped("silent", "client", turn)

        self.later(_SILENT_S, judge)

    def _lost(self, process: FakeProcess, goodbye: int, turn: int) -> None:
        """Hear that a process on the way has ended: with a close frame, when it did so in good order."""
        if not process.left and turn == self._turn and self.open and self.replica and self.spec.kind == "watch":
            self.replica.now.cut_ns = self.site.now_ns()
        self._dropped("close" if process.left else "eof", "server", turn, goodbye if process.left else None)

    def _dropped(self, cause: str, initiator: str, turn: int, code: int | None = None) -> None:
        if turn == self._turn and self.open:
            facts = {"cause": cause, "code": code, "initiator": initiator, "upstream": self._port, "last_ns": self.last}
            self.row("drop", **facts, **self._talk.closing())
            self._again(self._policy.gives_up(code=code if initiator == "server" else None))

    def _refused(self, why: str, turn: int | None = None) -> None:
        if (turn is None or turn == self._turn) and not self.open and not self._over:
            self.row("refused", why=why)
            status = int(why.removeprefix("status:")) if why.startswith("status:") else None
            self._again(self._policy.gives_up(status=status))

    def _again(self, gave_up: str | None) -> None:
        self._turn += 1
        self.open = self.live = False
        self.replica = None
        if gave_up is not None:
            self._over = True
            self.row("gaveup", why=gave_up)
            return
        pause_s = self._policy.pause_s(self._waits, draw(self._seed, self.spec.id, self._draws))
        self._waits, self._draws = self._waits + 1, self._draws + 1
        self.later(pause_s, self.dial)
