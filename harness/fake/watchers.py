"""Watch sessions through the modelled balancer; every turn is a row as `harness.probes.watchers` writes it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.fake.life import Life
    from harness.fake.replica import Replica
    from harness.fake.site import Site
    from harness.fake.store import Workspace
    from harness.stack import WatcherSpec

REDIAL_S = 0.05
_DIAL_S = 2.0
_PING_S = 1.0
_SILENT_S = 2.0
_HOP_S = 0.002


class Watcher:
    """One eager session: a constant pause after any end, then the same address."""

    def __init__(self, spec: WatcherSpec, site: Site, write: Callable[[dict[str, Any]], None]) -> None:
        self._spec = spec
        self._site = site
        self._write = write
        self._turn = 0
        """Counts ends: what was set up before the last one means nothing any more."""
        self._attempt = 0
        self._replica: Replica | None = None
        self.open = False
        self.live = False
        self._stopped = False

    def dial(self) -> None:
        """Dial; rows say how it went."""
        if self._stopped:
            return
        self._attempt += 1
        self._row("dial", attempt=self._attempt)
        turn = self._turn
        self._later(_DIAL_S, lambda: self._refused("timeout"))
        self._site.balancer.process.life.after(_HOP_S, lambda: self._arrive(turn))
        if self._site.balancer.process.now == "gone":
            self._refused("refused")

    def stop(self) -> None:
        """Close for good."""
        if self.open:
            self._row("stop", upstream=self._port)
        self._stopped, self.open, self.live = True, False, False

    def changed(self, workspace: Workspace) -> None:
        """Send what the server knows now, in the time of the server."""
        if self.open and self._replica is not None and workspace.id == self._spec.workspace:
            turn = self._turn
            self._replica.process.life.after(_HOP_S, lambda: self._message(turn))

    @property
    def _port(self) -> int:
        return self._replica.process.address.port if self._replica else 0

    def _arrive(self, turn: int) -> None:
        if turn != self._turn or self._stopped:
            return
        replica = self._site.balancer.pick()
        if replica is None or not replica.healthy:
            self._refused("status:503" if replica is None else "status:502")
            return
        life = replica.process.life

        def answer() -> None:
            if turn != self._turn or self._stopped:
                return
            if replica.now.pool:
                self._opened(replica, life, turn)
            else:
                self._refused("status:500")

        life.ends.append(lambda: self._refused("status:502", turn))
        life.after(_HOP_S, answer)

    def _opened(self, replica: Replica, life: Life, turn: int) -> None:
        self._replica, self._attempt, self.open = replica, 0, True
        self._row("open", upstream=self._port)
        life.ends.append(lambda: self._dropped("eof", "server", turn))
        snapshot_s = self._site.behaviour.snapshot_s
        if snapshot_s is not None:
            life.after(_HOP_S + snapshot_s, lambda: self._message(turn))
        self._later(_PING_S, lambda: self._ping(life, turn))

    def _ping(self, life: Life, turn: int) -> None:
        if not life.frozen:
            self._later(_PING_S, lambda: self._ping(life, turn))
            return
        answered: list[bool] = []
        life.when_awake(lambda: answered.append(True))

        def judge() -> None:
            if answered:
                self._ping(life, turn)
            else:
                self._dropped("silent", "client", turn)

        self._later(_SILENT_S, judge)

    def _message(self, turn: int) -> None:
        workspace = self._site.store.workspaces.get(self._spec.workspace)
        if turn != self._turn or not self.open or workspace is None:
            return
        last = workspace.builds[-1]
        self._row("event" if self.live else "first", build_number=last.number, build_status=last.status, updated_at="")
        self.live = True

    def _dropped(self, cause: str, initiator: str, turn: int) -> None:
        if turn == self._turn and self.open:
            self._row("drop", cause=cause, code=None, initiator=initiator, upstream=self._port)
            self._again()

    def _refused(self, why: str, turn: int | None = None) -> None:
        if (turn is None or turn == self._turn) and not self.open and not self._stopped:
            self._row("refused", why=why)
            self._again()

    def _again(self) -> None:
        self._turn += 1
        self.open = self.live = False
        self._replica = None
        self._later(REDIAL_S, self.dial)

    def _later(self, delay_s: float, act: Callable[[], None]) -> None:
        """Act in the client's own time, unless the session has ended by then."""
        turn = self._turn

        def due() -> None:
            if turn == self._turn and not self._stopped:
                act()

        self._site.loop.call_later(delay_s, due)

    def _row(self, ev: str, **more: object) -> None:
        row = {"t_ns": self._site.now_ns(), "session": self._spec.id, "policy": self._spec.policy, "ev": ev}
        self._write(row | more)
