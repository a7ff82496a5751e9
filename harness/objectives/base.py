"""What an objective is: a frozen dataclass with limits and one pure method, `judge(run) -> Finding`.

Limits may be formulas when a scenario states them; `to_json` resolves them against the stack once, at plan time, and
that is what the run stores and the judge reads. So a saved run is always judged by the limits it ran with.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, runtime_checkable

from harness.errors import RunDirError
from harness.timings import Env, Formula, resolve, text_of

if TYPE_CHECKING:
    from harness.timeline import RunView
    from harness.verdict import Finding


@dataclass(frozen=True)
class Limit:
    """A resolved limit: the number, and the formula it came from."""

    value: float
    text: str

    def __str__(self) -> str:
        """As `<= 2.17 s (ejection/N + 0.5 s)` is to be read."""
        return (
            f"{self.value:g}"
            if self.text in ("", f"{self.value:g}", f"{self.value:g} s")
            else f"{self.value:.4g} ({self.text})"
        )


Bound = Formula | float | Limit


@runtime_checkable
class Objective(Protocol):
    """One promise as a check over a saved run."""

    name: ClassVar[str]

    def judge(self, run: RunView) -> Finding:
        """Look at the run and say what it shows. Must not raise for any run that RunView can read."""


def limit(bound: Bound) -> Limit:
    """Return the resolved form of a field; a formula is resolved for the default stack."""
    if isinstance(bound, Limit):
        return bound
    return Limit(resolve(bound, Env()), text_of(bound))


def to_json(objective: Objective, env: Env) -> dict[str, Any]:
    """Return the stored form: class, name and every field, formulas resolved against `env`."""
    params: dict[str, Any] = {}
    for field in fields(objective):  # type: ignore[arg-type]
        value = getattr(objective, field.name)
        if isinstance(value, Formula):
            params[field.name] = {"value": round(resolve(value, env), 6), "text": text_of(value)}
        else:
            params[field.name] = list(value) if isinstance(value, tuple) else value
    return {"objective": type(objective).__name__, "name": objective.name, "params": params}


def from_json(spec: dict[str, Any]) -> Objective:
    """Build the objective back; raise RunDirError for one this version does not have."""
    from harness.discover import objectives  # noqa: PLC0415 - discovery imports every objective

    cls: Any = objectives().get(spec["objective"])
    if cls is None:
        raise RunDirError(f"this run was judged by {spec['objective']}, an objective this version does not have")
    known = {field.name for field in fields(cls)}
    params = {key: _revive(value) for key, value in spec["params"].items() if key in known}
    made: Objective = cls(**params)
    return made


def _revive(value: Any) -> Any:
    if isinstance(value, dict) and set(value) == {"value", "text"}:
        return Limit(value["value"], value["text"])
    return tuple(value) if isinstance(value, list) else value
