"""How a process of the stack is started and stopped, in a form that can be sent to the keeper and kept there.

Standard library only: the keeper process imports this.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast, get_args

if TYPE_CHECKING:
    from collections.abc import Mapping

StopSignal = Literal["TERM", "QUIT", "KILL", "INT"]
DeathSignal = Literal["KILL", "QUIT"]
Stdio = int | Path | None
"""An index into the open files passed along, a file (appended to, or read as stdin), or None for /dev/null."""


@dataclass(frozen=True)
class Spec:
    """One named process. `env` is complete: nothing of the keeper's own environment is added.

    `stop_signal` asks it to stop; `death_signal` is what the kernel sends it when the keeper itself is killed
    (a program that changes its credentials loses that and must set it again, as `setpriv --pdeathsig` does).
    A `nice` below what we may have is left out silently: priority is a wish.
    """

    name: str
    argv: tuple[str, ...]
    env: dict[str, str] = field(default_factory=dict)
    cwd: Path = Path("/")
    stdin: Stdio = None
    stdout: Stdio = None
    stderr: Stdio = None
    stop_signal: StopSignal = "TERM"
    death_signal: DeathSignal = "KILL"
    nice: int | None = None

    def to_json(self) -> dict[str, Any]:
        """Give the fields by name; a stdio is `{"fd": index}`, `{"path": text}` or None."""
        return {
            "name": self.name,
            "argv": list(self.argv),
            "env": self.env,
            "cwd": str(self.cwd),
            "stdin": _stdio_to_json(self.stdin),
            "stdout": _stdio_to_json(self.stdout),
            "stderr": _stdio_to_json(self.stderr),
            "stop_signal": self.stop_signal,
            "death_signal": self.death_signal,
            "nice": self.nice,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Spec:
        """Read what `to_json` gave; raises KeyError, TypeError or ValueError for anything else."""
        if not data["argv"]:
            raise ValueError(f"{data['name']}: argv is empty")
        if data["stop_signal"] not in get_args(StopSignal) or data["death_signal"] not in get_args(DeathSignal):
            raise ValueError(f"{data['name']}: stop by {data['stop_signal']!r}, die by {data['death_signal']!r}?")
        return cls(
            name=str(data["name"]),
            argv=tuple(map(str, data["argv"])),
            env={str(key): str(value) for key, value in data["env"].items()},
            cwd=Path(data["cwd"]),
            stdin=_stdio_from_json(data["stdin"]),
            stdout=_stdio_from_json(data["stdout"]),
            stderr=_stdio_from_json(data["stderr"]),
            stop_signal=cast("StopSignal", data["stop_signal"]),
            death_signal=cast("DeathSignal", data["death_signal"]),
            nice=None if data["nice"] is None else int(data["nice"]),
        )


def _stdio_to_json(stdio: Stdio) -> dict[str, int | str] | None:
    if stdio is None:
        return None
    return {"fd": stdio} if isinstance(stdio, int) else {"path": str(stdio)}


def _stdio_from_json(data: Mapping[str, Any] | None) -> Stdio:
    if data is None:
        return None
    return int(data["fd"]) if "fd" in data else Path(data["path"])
