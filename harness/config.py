"""Settings: defaults < environment (`CHAOS_…`) < flags, resolved once, passed down, and written into the run's header."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import platformdirs
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, FilePath, ValidationError

from harness.decider import Limits
from harness.discover import nearest
from harness.errors import UsageError
from harness.stack import SESSION_KINDS, SESSION_POLICIES
from harness.timings import BALANCERS, Env
from harness.variables import PASSED

if TYPE_CHECKING:
    from collections.abc import Mapping

PREFIX = "CHAOS_"
_TOKEN = "CODER_SESSION_TOKEN"  # noqa: S105 - the name of a variable
_NOT_SETTINGS = frozenset({"CHAOS_SETUP_DOCKER"}) | PASSED
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*([a-zA-Z]*)")
MOST_SESSIONS = 20_000
_PORTS = re.compile(r"(\d+)-(\d+)")


def parse_duration(value: object) -> object:
    """Seconds of "15s", "500ms", "2m"; numbers pass through. Raises ValueError without a (known) unit."""
    if not isinstance(value, str):
        return value
    match = _DURATION.fullmatch(value.strip())
    if match is None:
        raise ValueError(f"{value!r} is not a duration; write it as 500ms, 15s or 2m")
    number, unit = match.groups()
    if not unit:
        raise ValueError(f"{value!r} has no unit; write {number}s or {number}ms")
    if unit not in _UNITS:
        raise ValueError(f"{value!r}: unknown unit {unit!r}; known: {', '.join(_UNITS)}")
    return float(number) * _UNITS[unit]


def parse_ports(value: object) -> object:
    """Range of "20000-29999", both ends included."""
    if isinstance(value, range):
        return value
    match = _PORTS.fullmatch(str(value).strip())
    if match is None or not 1024 <= int(match[1]) <= int(match[2]) <= 65535:
        raise ValueError(f"{value!r} is not a range of ports between 1024 and 65535; write it as 20000-29999")
    return range(int(match[1]), int(match[2]) + 1)


def parse_sessions(value: object) -> object:
    """Populations of "watch.vscode=3,echo.eager=4" as a mapping from kind.policy to a number."""
    if not isinstance(value, str):
        return value
    populations: dict[str, int] = {}
    for part in filter(None, (part.strip() for part in value.split(","))):
        name, _, count = part.partition("=")
        kind, _, policy = name.partition(".")
        if kind not in SESSION_KINDS or policy not in SESSION_POLICIES:
            known = f"kinds {', '.join(SESSION_KINDS)}; policies {', '.join(SESSION_POLICIES)}"
            raise ValueError(f"{name!r} is not a population; write it as kind.policy=number ({known})")
        if not count.isascii() or not count.isdigit() or int(count) > MOST_SESSIONS:
            raise ValueError(f"{part!r} needs a whole number up to {MOST_SESSIONS}; write it as {name}=3")
        populations[name] = int(count)
    return populations


def parse_names(value: object) -> object:
    """Set of the names in "coder-1,coder-2"."""
    return frozenset(filter(None, map(str.strip, value.split(",")))) if isinstance(value, str) else value


Duration = Annotated[float, BeforeValidator(parse_duration)]
Ports = Annotated[Any, BeforeValidator(parse_ports)]
Names = Annotated[frozenset[str], BeforeValidator(parse_names)]
Sessions = Annotated[dict[str, int], BeforeValidator(parse_sessions)]


class Settings(BaseModel):
    """Everything a run can be told. Durations are seconds here, and are written with a unit by people."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    stack: Literal["local", "compose", "fake"] = Field("local", description="where Coder runs")
    offline: bool = Field(default=False, description="compose: make the images here, with the stand-in as Coder")
    project: str = Field("", description="compose: a project of yours to break, instead of one of the run's own")
    allow: Names = Field(
        frozenset(), description="kinds of faults that a project of yours permits, separated by commas"
    )
    session_token: str = Field(
        "",
        exclude=True,
        repr=False,
        description="an owner's token on a project of yours; read from CODER_SESSION_TOKEN",
    )
    license_file: FilePath | None = Field(
        None, description="file with a licence for the run's own deployment: high availability"
    )
    replicas: int = Field(3, ge=2, le=9, description="Coder replicas behind the balancer")
    balancer: Literal["tuned", "k8s-default"] = Field("tuned", description="profile of the balancer's health checks")
    size: Literal["dev", "nightly", "gameday", "gameday-2000", "gameday-3000"] = Field("dev", description="load level")
    seed: int | None = Field(None, ge=0, description="seed of every choice; drawn and printed when not given")
    time_scale: float = Field(
        1.0, ge=0.05, le=1.0, description="speed of the server's own timers; below 1 only the stand-in can"
    )
    coder: Path | None = Field(None, description="path of a `coder` binary to run instead of the stand-in")
    watchers: int = Field(30, ge=1, le=MOST_SESSIONS, description="eager WebSocket watchers of workspaces")
    sessions: Sessions = Field(
        {"watch.dashboard": 3, "watch.vscode": 3, "inbox.dashboard": 3, "echo.eager": 4},
        description="further sessions, as kind.policy=number, separated by commas",
    )
    writers: int = Field(15, ge=1, le=100, description="writers of the write history, each with a workspace of its own")
    warmup: Duration = Field(30.0, ge=1, description="longest wait until load and probes are steady")
    baseline: Duration = Field(10.0, ge=1, description="length of the calm measurement before the fault")
    max_down: int | None = Field(None, ge=1, description="replicas a run may take down at once; default: all but one")
    only: Names = Field(frozenset(), description="targets a run may hurt, separated by commas; default: all of its own")
    hold: Duration | None = Field(None, ge=0, description="how long a fault stays on; default: the scenario's own time")
    recovery: Duration = Field(60.0, ge=1, description="longest wait for recovery after the undo")
    calm: Duration = Field(6.0, ge=0, description="calm stretch after recovery")
    prove: Duration = Field(15.0, ge=0.1, description="longest wait for the proof of a fault")
    runs_dir: Path = Field(Path("runs"), description="folder for run directories")
    cache_dir: Path = Field(Path(platformdirs.user_cache_dir("coder-chaos")), description="built tools and templates")
    state_dir: Path = Field(
        Path(platformdirs.user_state_dir("coder-chaos")), description="locks and registrations of live runs"
    )
    ports: Ports = Field(range(20000, 30000), description="ports a local stack may use, as low-high")

    @property
    def env(self) -> Env:
        """What formulas are resolved against."""
        return Env(scale=self.time_scale, replicas=self.replicas, balancer=BALANCERS[self.balancer])

    @property
    def limits(self) -> Limits:
        """How much the run may hurt."""
        return Limits(self.max_down, self.only, self.allow if self.project else None)

    def sized_for(self, name: str, replicas: int) -> Settings:
        """Settings with at least the replicas that scenario `name` needs; UsageError when fewer were asked for."""
        if self.replicas >= replicas:
            return self
        if "replicas" in self.model_fields_set:
            raise UsageError(
                f"scenario {name} needs {replicas} replicas, the run has {self.replicas}; --replicas {replicas}"
            )
        return self.model_copy(update={"replicas": replicas})

    def logged(self) -> dict[str, Any]:
        """Form for the run's header: what the run means, not where its folders are."""
        data = self.model_dump(
            mode="python", exclude={"runs_dir", "cache_dir", "state_dir", "ports", "coder", "license_file"}
        )
        return data | {
            "coder": str(self.coder) if self.coder else None,
            "licensed": self.license_file is not None,
            "only": sorted(self.only),
            "allow": sorted(self.allow),
            "ports": f"{self.ports.start}-{self.ports.stop - 1}",
        }


def load(environ: Mapping[str, str], flags: Mapping[str, Any], pairs: Mapping[str, str] | None = None) -> Settings:
    """Resolve settings from the environment, flags, and `--set` pairs, later ones winning.

    Raises UsageError with every problem, each naming the key, its place and the fix.
    """
    known = {PREFIX + name.upper(): name for name in Settings.model_fields}
    problems: list[str] = []
    # Coder's own name for it, honoured for a deployment that is there already.
    values: dict[str, Any] = {"session_token": environ.get(_TOKEN, "")}
    places: dict[str, str] = {"session_token": f"environment: {_TOKEN}"}
    for key in sorted(environ):
        if not key.startswith(PREFIX) or key in _NOT_SETTINGS:
            continue
        if key not in known:
            problems.append(f"environment: unknown key {key}{nearest(key, known)}")
        else:
            values[known[key]], places[known[key]] = environ[key], f"environment: {key}"
    for name, value in flags.items():
        values[name], places[name] = value, f"--{name.replace('_', '-')}"
    for name, value in (pairs or {}).items():
        key = name.replace("-", "_")
        if key not in Settings.model_fields:
            problems.append(f"--set: unknown key {name!r}{nearest(key, Settings.model_fields)}")
        else:
            values[key], places[key] = value, f"--set {name}"
    try:
        settings = Settings(**values)
    except ValidationError as error:
        problems += [_line(problem, places) for problem in error.errors()]
    if problems:
        raise UsageError("\n".join(problems))
    return _consistent(settings)


def _consistent(settings: Settings) -> Settings:
    """Give the settings back; raise UsageError for those that do not go together."""
    if settings.project and settings.stack != "compose":
        raise UsageError(f"project {settings.project} is a Compose project: add --stack compose")
    if settings.project and not settings.session_token:
        raise UsageError(f"project {settings.project} is not ours: set {_TOKEN} to the token of one of its owners")
    return settings


def _line(problem: Any, places: Mapping[str, str]) -> str:
    key = str(problem["loc"][0])
    text = str(problem["msg"]).removeprefix("Value error, ")
    shown = "" if "Value error" in problem["msg"] else f" (got {problem['input']!r})"
    return f"{places.get(key, key)}: {text[:1].lower() + text[1:]}{shown}"
