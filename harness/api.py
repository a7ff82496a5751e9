"""What the author of a scenario uses: `@scenario`, and the `Run` that a body is given.

A scenario is a value: a promise to users (the first line of its docstring), the load, the objectives that judge it, and
a body that says what happens. The body runs twice: once on a recording `Run` (that trace is the plan), once for real.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from harness.errors import UsageError

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from harness.faults.base import Fault
    from harness.objectives.base import Objective
    from harness.targets import Selector, Target
    from harness.timings import Formula


class Run(Protocol):
    """What a body may do. Six verbs, in the order of a run, and the one number a body may turn on."""

    @property
    def replicas(self) -> int:
        """How many replicas the stack has."""

    async def baseline(self) -> None:
        """Measure the calm stack. When it does not hold its objectives the run ends here, with nothing injected."""

    def fault(self, fault: Fault, *, at: Selector) -> AbstractAsyncContextManager[list[Target]]:
        """Inject on entry (journal first, proof after), undo on exit (whatever happened), wait until healed."""

    async def hold(self, seconds: Formula | float | None = None) -> None:
        """Keep the fault on; None takes the size's own hold time."""

    async def ask_health(self, *, until_quiet_s: float = 0.0) -> None:
        """Have a fresh health report of every replica that is not down; what they say goes into the event log.

        Who warns of its database is asked again until it does not, for `until_quiet_s` wall seconds at most: on a busy
        machine pings are slow now and then.
        """

    async def settle(self) -> None:
        """Wait until service is stable again or the recovery window closes, then watch a calm stretch."""

    def note(self, text: str) -> None:
        """Write a line into the event log."""


Body = Callable[[Run], Awaitable[None]]


@dataclass(frozen=True)
class Red:
    """A seeded bug of the stand-in that must turn a scenario red, and its twin, which is slow but legal and must not.

    `objective` is the title of the one that breaks first, such as "sessions-back watch.eager". `settings` are what both
    need beside the size's own.
    """

    bug: str
    objective: str
    twin: str = ""
    settings: Mapping[str, str] = field(default_factory=dict)
    modelled: bool = False
    """Played on the modelled stack, whatever the selftest's: on two cores the bug itself leaves no calm to begin with."""


@dataclass(frozen=True)
class Scenario:
    """One promise to users and how it is put to the test."""

    name: str
    promise: str
    body: Body
    objectives: tuple[Objective, ...]
    load: str
    tags: frozenset[str]
    source: Path
    rules: tuple[str, ...] = ()
    """Parts of Coder's Well-Architected Framework that it holds Coder to, and incidents it would have caught."""
    red_by: tuple[Red, ...] = ()
    replicas: int = 2
    """Fewest replicas that it can be told with; a stack of the default size grows to it."""
    outage: bool = False
    """Whether it may leave no healthy replica while a fault is on. Nothing else is allowed by it."""


def scenario(
    *,
    objectives: Sequence[Objective],
    load: str = "mixed",
    tags: Sequence[str] = ("nightly",),
    rules: Sequence[str] = (),
    red_by: Sequence[Red] = (),
    replicas: int = 2,
    outage: bool = False,
) -> Callable[[Body], Scenario]:
    """Turn an async function into a Scenario named after it (`replica_kill` is `replica-kill`).

    `rules` are what is behind the promise: a rule such as "3a", or an incident such as "#8706" of coder/coder.
    `red_by` are the seeded bugs that show that it can fail; `selftest` plays them.
    `replicas` is the fewest it needs. With `outage` its faults may leave no healthy replica; any other's are refused then.

    Raises UsageError when there is no promise (docstring of the function, or of its module) or no objective: a run
    without objectives could only pass.
    """

    def make(body: Body) -> Scenario:
        name = getattr(body, "__name__", "?").replace("_", "-")
        promise = (inspect.getdoc(body) or getattr(body, "__globals__", {}).get("__doc__") or "").strip().splitlines()
        if not promise:
            raise UsageError(f"scenario {name}: it needs a docstring whose first line is the promise to users")
        if not objectives:
            raise UsageError(f"scenario {name}: it has no objectives, so it could only pass; give it at least one")
        source = Path(inspect.getsourcefile(body) or "?")
        return Scenario(
            name=name,
            promise=promise[0],
            body=body,
            objectives=tuple(objectives),
            load=load,
            tags=frozenset(tags),
            source=source,
            rules=tuple(rules),
            red_by=tuple(red_by),
            replicas=replicas,
            outage=outage,
        )

    return make
