"""What a backend gives the engine: a Stack of named targets, addresses, an API, a meter, load, and undo.

The engine knows only this file. `fake` implements it in memory under virtual time, `local` with processes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Protocol

from harness.timings import TUNED, Balancer

if TYPE_CHECKING:
    from pathlib import Path

    from harness import events as ev
    from harness.safety.undo import Outcome, Step
    from harness.targets import Target


@dataclass(frozen=True)
class Address:
    """Where something listens."""

    host: str
    port: int

    @property
    def url(self) -> str:
        """As `http://host:port`."""
        return f"http://{self.host}:{self.port}"


@dataclass(frozen=True)
class StackRequest:
    """What a run asks of a backend. Times are seconds, `time_scale` 1.0 is real time."""

    replicas: int = 3
    time_scale: float = 1.0
    balancer: Balancer = TUNED
    """How the balancer checks the health of its replicas."""
    coder: str | None = None
    """Path of a `coder` binary; None starts the stand-in under the same name."""
    project: str = ""
    """A deployment that is there already, by its name, where a backend can find one; empty for one of the run's own."""
    allow: frozenset[str] = frozenset()
    """Kinds of faults that the run may use on it."""
    offline: bool = False
    """Whether images are made here, with the stand-in as `coder`, where a backend has images."""
    server_env: Mapping[str, str] = field(default_factory=dict)
    """Extra environment for the replicas, for variants (`STANDIN_…`)."""
    start_timeout_s: float = 45.0
    ports: range = range(20000, 30000)


@dataclass(frozen=True)
class Context:
    """What a backend may use of the run: its id and folder, and how to report. Nothing else reaches it."""

    run: str
    directory: Path
    emit: Callable[[ev.Event], object]
    say: Callable[[str], None]
    cache: Path
    state: Path


@dataclass(frozen=True)
class Answer:
    """One API answer. `body` is parsed JSON, or text where it was not JSON; `upstream` the replica's port or 0."""

    status: int
    body: Any
    upstream: int = 0

    @property
    def ok(self) -> bool:
        """Whether the status is 2xx: for a write, that it is acknowledged."""
        return 200 <= self.status < 300


CALL_S: Final = 10.0
"""How long a call of the API is waited for, unless it says otherwise."""


class NoAnswer(Exception):  # noqa: N818 - it is not an error of ours: it is what a client of a broken service sees
    """The request got no whole answer (refused, reset, timed out): for a write, nobody knows whether it happened."""


class Api(Protocol):
    """Coder's HTTP API at one address. A status is returned, never raised; only a missing answer raises."""

    async def call(
        self, method: str, path: str, body: Any = None, *, token: str | None = None, timeout_s: float = CALL_S
    ) -> Answer:
        """Send one request, without any retry; `path` is below /api/v2. Raises NoAnswer, also after `timeout_s`."""


@dataclass(frozen=True)
class LaneSpec:
    """One probe lane. `expect` is a text that only a good answer holds: the page of a proxy does not.

    `kind` is fresh, pinned (one kept connection), db (a fresh one whose answer needs the database) or ws (one kept
    WebSocket that echoes).
    """

    id: int
    target: str
    role: str
    kind: str
    path: str
    rate_hz: float
    token: str | None = None
    expect: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Form for the event log: without the token."""
        return {key: getattr(self, key) for key in ("id", "target", "role", "kind", "path", "rate_hz")}


SESSION_KINDS = ("watch", "inbox", "echo")
"""What a session is: a workspace watch, the inbox watch of a page, a numbered echo."""
SESSION_POLICIES = ("eager", "dashboard", "terminal", "vscode", "stream")
"""How a session behaves after a drop: see `harness.probes`. `eager` measures the server, the others what users feel."""


@dataclass(frozen=True)
class WatcherSpec:
    """One session through the balancer: `kind` and `policy` as in `probes.kinds` and `probes.policies`.

    Only a watch has a workspace; `token` is an owner's. `options` are further keys of the meter's plan.
    """

    id: str
    workspace: str
    token: str
    policy: str = "eager"
    kind: str = "watch"
    headers: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Form for the event log: without the token and the headers."""
        return {"id": self.id, "workspace": self.workspace, "policy": self.policy, "kind": self.kind}


@dataclass(frozen=True)
class MeterPlan:
    """What the meter watches, and the deadline after which a slot is bad, in milliseconds.

    The first dials of the sessions are paced: one every `herd_step_ms`, at most `herd_at_once` of them unanswered.
    `seed` decides the jitter of their clients.
    """

    lanes: list[LaneSpec]
    watchers: list[WatcherSpec]
    deadline_ms: int = 1000
    herd_step_ms: float = 5
    herd_at_once: int = 100
    seed: int = 0


class Meter(Protocol):
    """A running meter."""

    async def tick(self) -> Mapping[str, Any]:
        """Wait for the next live line (every 250 ms) and return it; raise HarnessError when the meter died."""


@dataclass(frozen=True)
class LoadRequest:
    """Load asked of a backend: a Locust file by name, users, the tokens they use, a seed."""

    name: str
    users: int
    tokens: Sequence[str]
    seed: int


@dataclass(frozen=True)
class Look:
    """What a stack is made of at one moment. `processes` are its targets as `pid@start`, `states` as in `targets.State`.

    `held` names what a fault may have left behind, one line each: a toxic, an armed undo, a limit, a helper that runs.
    """

    processes: Mapping[str, str]
    states: Mapping[str, str]
    held: Sequence[str] = ()


class Stack(Protocol):
    """An open stack. It is closed by leaving the context that `open` gave."""

    name: str
    time_scale: float
    targets: Sequence[Target]
    version: str
    hostnames: Mapping[str, str]
    """Name of a replica by the hostname that it gives itself, where that is another."""

    def topology(self) -> list[dict[str, Any]]:
        """Targets as `{name, role, host, port, upstream_port}`, for the event log; the last only where it differs."""

    def address(self, name: str) -> Address:
        """Address of a target by name."""

    def upstream(self, name: str) -> int:
        """Port by which records know a replica: that of its address, unless replicas share one."""

    def api(self, name: str) -> Api:
        """API at one target: the balancer, or a replica directly."""

    def meter(self, plan: MeterPlan) -> AbstractAsyncContextManager[Meter]:
        """Start the meter; leaving stops it and completes its files."""

    def load(self, request: LoadRequest) -> AbstractAsyncContextManager[list[str]]:
        """Start the load; yields the names of its record files. Leaving stops it."""

    async def arm(self, fault: str, revert_by_ns: int, steps: Sequence[Step]) -> None:
        """Hand the undo to the dead man's switch before the deed."""

    async def undo(self, fault: str) -> list[Outcome]:
        """Run the armed undo of a fault now, every step, and disarm it."""

    async def sql(self, query: str, *args: Any) -> list[tuple[Any, ...]] | None:
        """Rows of a read-only query on the database itself; None where the backend has no access."""

    async def ready(self, name: str) -> None:
        """Wait until a (re)started target can be used as before; raise StackError with its last log lines."""

    async def look(self) -> Look:
        """Look at every process, and for what faults may have left."""

    async def turn(self, context: Context) -> None:
        """Serve another run: files, logs, events and the keeper's words go to its directory from now on."""


Open = Callable[[StackRequest, Context], AbstractAsyncContextManager[Stack]]
"""A backend is one function `open(request, context)`."""
