"""What a fault is: a frozen dataclass with a capability it needs, a path effect it shows, and four small methods."""

from __future__ import annotations

from dataclasses import MISSING, asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, runtime_checkable

from harness.records import Outcome

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.safety.undo import Step
    from harness.targets import Target

_NEED = 3
_HEALED = 5


@dataclass(frozen=True)
class Shows:
    """What the path must show on the target, while a control beside it stays good.

    `outcomes` are what slots on the target's own address must end with, `need` times in a row, on its lane of kind
    `lane`. With `least_ms` they must take that many milliseconds more than the quickest tenth did in the baseline.
    `beside` names a kind of lane of the target that must stay good. Healed is `healed` good answers in a row, without
    the delay.
    """

    text: str
    outcomes: frozenset[int]
    need: int = _NEED
    healed: int = _HEALED
    lane: str = "fresh"
    least_ms: float = 0.0
    beside: str = ""

    def to_json(self) -> dict[str, Any]:
        """Form for the event log: what is as usual is left out."""
        usual = {field.name: field.default for field in fields(self) if field.name not in ("need", "healed")}
        data = {key: value for key, value in asdict(self).items() if usual.get(key, MISSING) != value}
        return data | {"outcomes": sorted(self.outcomes)}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Shows:
        """Read back `to_json`."""
        return cls(**{**data, "outcomes": frozenset(data["outcomes"])})


def refuses() -> Shows:
    """New connections are refused or cut: nobody is home."""
    return Shows("refuses", frozenset({Outcome.REFUSED, Outcome.RESET, Outcome.CLOSED, Outcome.CONNECT_TIMEOUT}))


def delays(ms: float) -> Shows:
    """Answers that need the database take `ms` longer, or too long; those beside them that need none do not."""
    # More in a row than for an outage: an answer that is late by itself is no rare thing.
    late = frozenset({Outcome.OK, Outcome.READ_TIMEOUT})
    return Shows(f"delays by {ms:g} ms", late, need=8, lane="db", least_ms=ms, beside="fresh")


def slows(ms: float) -> Shows:
    """Answers take `ms` longer, or too long, also those that need no database."""
    late = frozenset({Outcome.OK, Outcome.READ_TIMEOUT})
    return Shows(f"is slower by {ms:g} ms", late, need=5, least_ms=ms)


def hangs() -> Shows:
    """Connections are accepted or ignored, and never answered."""
    return Shows("hangs", frozenset({Outcome.READ_TIMEOUT, Outcome.CONNECT_TIMEOUT, Outcome.TLS_TIMEOUT}))


@runtime_checkable
class Fault(Protocol):
    """One way to hurt a target. Implementations are frozen dataclasses, one per file."""

    needs: ClassVar[type]
    """The capability (a Protocol of `harness.targets`) a target must have."""

    @property
    def shows(self) -> Shows:
        """What its path shows; may follow from its parameters."""

    async def prepare(self, target: Any) -> Sequence[Step]:
        """Return the undo, from what is there now; change nothing."""

    async def inject(self, target: Any) -> None:
        """Do it."""

    async def effective(self, target: Any) -> bool:
        """Say whether the target's own state (not the path) is what the fault wants: a third witness."""


async def delivered(fault: Fault, target: Any) -> bool:
    """Whether the deed reached the target, whatever it made of it.

    Only a fault that asks something of its target can know, and has a method `delivered`, like `effective`. Its witness
    must not be the injector: one that does nothing delivers nothing.
    """
    ask = getattr(fault, "delivered", None)
    return ask is not None and bool(await ask(target))


def fits(fault: Fault | type, target: Target) -> bool:
    """Whether a target can be hurt so: it has the capability, and the role where a fault names one as `role`."""
    return isinstance(target, fault.needs) and getattr(fault, "role", target.role) == target.role  # type: ignore[union-attr]


def takes_down(fault: Fault | type) -> bool:
    """Whether a target serves nobody meanwhile, of whom one must always be left; a fault says `takes_down = False`."""
    return bool(getattr(fault, "takes_down", True))


def name_of(fault: Fault | type) -> str:
    """Name for people, of a fault or its class: `Kill` is `kill`, `DbLatency` is `db-latency`."""
    text = (fault if isinstance(fault, type) else type(fault)).__name__
    return "".join(f"-{c.lower()}" if c.isupper() and i else c.lower() for i, c in enumerate(text))


def params_of(fault: Fault) -> dict[str, Any]:
    """Return the fault's parameters by name."""
    return asdict(fault)  # type: ignore[call-overload,no-any-return]
