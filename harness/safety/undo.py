"""Undo: plain steps that put back what a fault changed, made before the deed and runnable by anyone.

A step is a name and scalars, so it can be written to a journal, sent to the keeper, or run by a later command.
Every step is idempotent and has its own deadline. A new primitive is one small function and a line in `_PRIMITIVES`.
Standard library only: the keeper process imports this, and it knows no fault.
"""

from __future__ import annotations

import errno
import http.client
import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path
from signal import Signals
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote, urlsplit

from harness.safety import cgroup, cycler, proc, undo_docker

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

Scalar = str | int | float | bool | None
_LEAST_S = 0.2  # every step is tried, even when the time for all of them is used up
_SAID_MAX = 500
_ENGINE_S = 30.0
"""An engine on a busy machine takes seconds, and one that is restarting is waited for."""
_PROJECT_S = 60.0


@dataclass(frozen=True)
class Step:
    """One thing to put back: the primitive's name, its arguments, and its deadline in seconds."""

    do: str
    args: dict[str, Scalar] = field(default_factory=dict)
    deadline_s: float = 5.0

    def to_json(self) -> dict[str, Any]:
        """Give `{do, args, deadline_s}`."""
        return {"do": self.do, "args": dict(self.args), "deadline_s": self.deadline_s}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Step:
        """Read what `to_json` gave; raises KeyError, TypeError or ValueError for anything else."""
        return cls(str(data["do"]), dict(data["args"]), float(data["deadline_s"]))


@dataclass(frozen=True)
class Outcome:
    """What became of a step: `said` is one line for people."""

    step: Step
    ok: bool
    said: str

    def to_json(self) -> dict[str, Any]:
        """Give `{step, ok, said}`."""
        return {"step": self.step.to_json(), "ok": self.ok, "said": self.said}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Outcome:
        """Read what `to_json` gave; raises KeyError, TypeError or ValueError for anything else."""
        return cls(Step.from_json(data["step"]), bool(data["ok"]), str(data["said"]))


def signal(process: proc.ProcessRef, name: str) -> Step:
    """Send a signal, named without SIG such as "CONT", to exactly this process; gone is fine."""
    return Step("signal", {"process": str(process), "signal": name})


def start(name: str) -> Step:
    """Start a named process of the stack again, as it was first started.

    Running is fine; one that was asked to leave, and had not, is killed first.
    """
    return Step("start", {"name": name})


def toxic_delete(api_url: str, proxy: str, toxic: str) -> Step:
    """Remove one toxic of a Toxiproxy whose API is at `api_url`; already gone is fine."""
    return Step("toxic.delete", {"api_url": api_url, "proxy": proxy, "toxic": toxic})


def cgroup_remove(path: Path) -> Step:
    """Move the processes of a cgroup of ours out and remove it; already gone is fine. Its name must start `chaos-`."""
    return Step("cgroup.remove", {"path": str(path)})


def cycle_stop(process: proc.ProcessRef) -> Step:
    """End whatever stops and continues exactly this process by turns, and let it run; gone is fine."""
    return Step("cycle.stop", {"process": str(process)})


def container_start(engine: Path, container: str, asked: Path | None = None) -> Step:
    """Start a container again unless it runs. `engine` is the path of its engine's socket, `container` its name or id.

    `asked` is a file with the start time of the life that was asked to leave, if any: that one is killed first.
    """
    args = {"engine": str(engine), "container": container, "asked": None if asked is None else str(asked)}
    return Step("container.start", {**args}, _ENGINE_S)


def container_signal(engine: Path, container: str, life: str, name: str) -> Step:
    """Send a signal to exactly the life of a container that began at `life`; gone is fine. CONT ends a pause."""
    return Step(
        "container.signal", {"engine": str(engine), "container": container, "life": life, "signal": name}, _ENGINE_S
    )


def container_cpu(engine: Path, container: str, nano: int) -> Step:
    """Give a container `nano` billionths of a processor, 0 for no limit; gone is fine."""
    return Step("container.cpu", {"engine": str(engine), "container": container, "nano": nano}, _ENGINE_S)


def network_connect(engine: Path, network: str, container: str, aliases: Sequence[str], ip: str = "") -> Step:
    """Connect a container to a network again, under the names and the address it had; connected is fine."""
    args = {"engine": str(engine), "network": network, "container": container}
    return Step("network.connect", {**args, "aliases": ",".join(aliases), "ip": ip}, _ENGINE_S)


def remove_project(engine: Path, project: str) -> Step:
    """Remove all of a Compose project of ours; gone is fine. Refused unless its name starts with `chaos-`."""
    return Step("project.remove", {"engine": str(engine), "project": project}, _PROJECT_S)


def of_engine(step: Step) -> bool:
    """Whether a step asks a Docker engine for something in a container or network."""
    return step.do.startswith(("container.", "network."))


def is_moot(step: Step, projects: Sequence[Step]) -> bool:
    """Whether what a step would put back is about to be removed, by one of `projects` on the same engine."""
    return of_engine(step) and any(step.args["engine"] == project.args["engine"] for project in projects)


def remove_tree(path: Path) -> Step:
    """Remove a folder of ours with all it holds; already gone is fine. Refused unless its name starts `chaos-`."""
    # A busy disk takes seconds for a database's folder.
    return Step("tree.remove", {"path": str(path)}, deadline_s=30.0)


def run(
    steps: Sequence[Step],
    starter: Callable[[str], str] | None = None,
    *,
    within_s: float | None = None,
) -> list[Outcome]:
    """Try every step, in the order given, each until its own deadline; never raises.

    `starter` starts a named process and says what it did; without one there is no stack left to start it in.
    `within_s` bounds all steps together: once it is used up, each step that is left gets a fifth of a second.
    """
    ends = None if within_s is None else time.monotonic() + within_s
    return [_run_one(step, starter, ends) for step in steps]


class _Job(NamedTuple):
    """What a primitive may use beside its arguments: its deadline on the monotonic clock, and the starter."""

    until: float
    starter: Callable[[str], str] | None

    def left_s(self) -> float:
        """Give the seconds left; raises TimeoutError if there are none."""
        left = self.until - time.monotonic()
        if left <= 0:
            raise TimeoutError("not done by its deadline")
        return left


def _run_one(step: Step, starter: Callable[[str], str] | None, ends: float | None) -> Outcome:
    primitive = _PRIMITIVES.get(step.do)
    if primitive is None:
        return Outcome(
            step, ok=False, said=f"unknown undo step {step.do!r}; known are {', '.join(sorted(_PRIMITIVES))}"
        )
    now = time.monotonic()
    allowed = step.deadline_s if ends is None else min(step.deadline_s, max(_LEAST_S, ends - now))
    try:
        said = primitive(step.args, _Job(now + allowed, starter))
    except Exception as error:  # noqa: BLE001  one broken step must not keep the others from being tried
        return Outcome(step, ok=False, said=f"{type(error).__name__}: {error}"[:_SAID_MAX])
    return Outcome(step, ok=True, said=said[:_SAID_MAX])


def _signal(args: Mapping[str, Scalar], job: _Job) -> str:
    job.left_s()
    process = proc.ProcessRef.parse(str(args["process"]))
    signum = Signals[f"SIG{args['signal']}"]
    return f"sent {signum.name} to {process}" if proc.send(process, signum) else f"{process} is gone already"


def _start(args: Mapping[str, Scalar], job: _Job) -> str:
    job.left_s()
    name = str(args["name"])
    if job.starter is None:
        return "its stack is gone, nothing to start"
    return job.starter(name)


def _toxic_delete(args: Mapping[str, Scalar], job: _Job) -> str:
    api = urlsplit(str(args["api_url"]))
    proxy, toxic = (quote(str(args[key]), safe="") for key in ("proxy", "toxic"))
    path = f"{api.path.rstrip('/')}/proxies/{proxy}/toxics/{toxic}"
    connection = http.client.HTTPConnection(api.hostname or "", api.port, timeout=job.left_s())
    try:
        connection.connect()
        connection.sock.settimeout(job.left_s())
        connection.request("DELETE", path)
        connection.sock.settimeout(job.left_s())
        status = connection.getresponse().status
    finally:
        connection.close()
    if status == http.client.NOT_FOUND:
        return f"toxic {args['toxic']} of {args['proxy']} is gone already"
    if status not in (http.client.OK, http.client.NO_CONTENT):
        raise ConnectionError(f"DELETE {api.netloc}{path} was answered with {status}")
    return f"removed toxic {args['toxic']} of {args['proxy']}"


def _cgroup_remove(args: Mapping[str, Scalar], job: _Job) -> str:
    return cgroup.remove(Path(str(args["path"])), job.left_s)


def _cycle_stop(args: Mapping[str, Scalar], job: _Job) -> str:
    return cycler.stop(proc.ProcessRef.parse(str(args["process"])), job.left_s)


def _remove_tree(args: Mapping[str, Scalar], job: _Job) -> str:
    path = Path(str(args["path"]))
    if not path.is_absolute() or not path.name.startswith("chaos-") or path.is_symlink():
        raise PermissionError(f"{path} is not a folder of ours: its own name must start with chaos-")
    if not path.exists():
        return f"{path} is gone already"
    while True:
        try:
            _empty(path, job)
            path.rmdir()
        except OSError as error:
            # A `cp` that the harness started may outlive it by a moment, and still write.
            if error.errno != errno.ENOTEMPTY:
                raise
            time.sleep(min(0.02, job.left_s()))
        else:
            return f"removed {path}"


def _empty(path: Path, job: _Job) -> None:
    for entry in list(path.iterdir()):
        job.left_s()
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink(missing_ok=True)


def _of_engine(primitive: Callable[[Mapping[str, Scalar], Callable[[], float]], str]) -> Callable[..., str]:
    return lambda args, job: primitive(args, job.left_s)


_PRIMITIVES: dict[str, Callable[[Mapping[str, Scalar], _Job], str]] = {
    "signal": _signal,
    "start": _start,
    "toxic.delete": _toxic_delete,
    "cgroup.remove": _cgroup_remove,
    "cycle.stop": _cycle_stop,
    "tree.remove": _remove_tree,
    "container.start": _of_engine(undo_docker.start),
    "container.signal": _of_engine(undo_docker.signal),
    "container.cpu": _of_engine(undo_docker.cpu),
    "network.connect": _of_engine(undo_docker.connect),
    "project.remove": _of_engine(undo_docker.remove_project),
}
