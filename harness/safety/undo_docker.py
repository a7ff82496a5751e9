"""Undo in containers: the primitives of `harness.safety.undo` that ask a Docker engine.

Each takes `engine`, the path of its socket, and is idempotent: a container, network or volume that is gone is fine.
Standard library only: the keeper process imports this.
"""

from __future__ import annotations

import time
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from harness.safety.engine import Engine, EngineError, container

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Args = Mapping[str, Any]
    LeftS = Callable[[], float]

_PAUSE_S: Final = 0.05
_BUSY: Final = frozenset({HTTPStatus.FORBIDDEN, HTTPStatus.CONFLICT, HTTPStatus.INTERNAL_SERVER_ERROR})
"""What an engine says of something that is being removed already, or still used by something that is."""
_KINDS: Final = ("containers", "networks", "volumes")


def start(args: Args, left_s: LeftS) -> str:
    """Start a container again unless it runs; one that was asked to leave in this life, and had not, is killed first.

    `asked` is a file that holds the start time of the life that was asked, as the engine tells it.
    """
    engine, name = _of(args, left_s)
    state = engine.ask("GET", container(name, "json"))["State"]
    said = ""
    if state["Running"]:
        if args["asked"] is None or state["StartedAt"] != _text(Path(str(args["asked"]))):
            return f"{name[:12]} is running already"
        _ignoring(HTTPStatus.CONFLICT, lambda: engine.ask("POST", container(name, "kill"), signal="KILL"))
        engine.ask("POST", container(name, "wait"), condition="not-running")
        said = f"killed {name[:12]}, which was asked to leave and had not; "
    engine.ask("POST", container(name, "start"))
    return f"{said}started {name[:12]} again"


def signal(args: Args, left_s: LeftS) -> str:
    """Send a signal to exactly this life of a container; CONT lets a paused one go on."""
    engine, name = _of(args, left_s)
    try:
        state = engine.ask("GET", container(name, "json"))["State"]
    except EngineError as error:
        if error.status != HTTPStatus.NOT_FOUND:
            raise
        return f"{name[:12]} is gone already"
    if not state["Running"] or state["StartedAt"] != args["life"]:
        return f"the {name[:12]} of {args['life']} is gone already"
    if args["signal"] == "CONT" and state["Paused"]:
        engine.ask("POST", container(name, "unpause"))
        return f"{name[:12]} goes on"
    if args["signal"] == "CONT":
        return f"{name[:12]} is not paused"
    engine.ask("POST", container(name, "kill"), signal=str(args["signal"]))
    return f"sent SIG{args['signal']} to {name[:12]}"


def cpu(args: Args, left_s: LeftS) -> str:
    """Give a container the share of processors it had: `nano` billionths of one, 0 for as many as there are."""
    engine, name = _of(args, left_s)
    nano = int(args["nano"])
    # 0 of NanoCpus means "leave it as it is"; only a quota of -1 takes a limit away.
    body = {"NanoCpus": nano} if nano else {"CpuQuota": -1, "CpuPeriod": 100_000}
    if _ignoring(HTTPStatus.NOT_FOUND, lambda: engine.ask("POST", container(name, "update"), body)):
        return f"{name[:12]} is gone already"
    return f"{name[:12]} has {f'{nano / 1e9:g} processors' if nano else 'every processor'} again"


def connect(args: Args, left_s: LeftS) -> str:
    """Connect a container to a network again, under the names and the address it had there."""
    engine, name = _of(args, left_s)
    network = str(args["network"])
    networks = engine.ask("GET", container(name, "json"))["NetworkSettings"]["Networks"]
    if any(network in (key, value["NetworkID"]) for key, value in networks.items()):
        return f"{name[:12]} is on {network} already"
    endpoint: dict[str, Any] = {"Aliases": [alias for alias in str(args["aliases"]).split(",") if alias]}
    if args["ip"]:
        endpoint["IPAMConfig"] = {"IPv4Address": str(args["ip"])}
    engine.ask("POST", f"/networks/{network}/connect", {"Container": name, "EndpointConfig": endpoint})
    return f"{name[:12]} is on {network} again"


def remove_project(args: Args, left_s: LeftS) -> str:
    """Remove every container, network and volume that carries the label of one of our Compose projects."""
    engine, name = Engine(str(args["engine"]), left_s), str(args["project"])
    if not name.startswith("chaos-"):
        raise PermissionError(f"{name} is not a project of ours: its name must start with chaos-")
    gone = 0
    while True:
        some = next(((kind, found) for kind in _KINDS if (found := engine.list(kind, name))), None)
        if some is None:
            return f"removed {gone} parts of {name}" if gone else f"{name} is gone already"
        went = sum(_removed(engine, some[0], part) for part in some[1])
        gone += went
        if not went:
            time.sleep(min(_PAUSE_S, left_s()))


def _removed(engine: Engine, kind: str, part: Mapping[str, Any]) -> int:
    """Remove one thing; 0 when it is busy or somebody else does it."""
    try:
        if kind == "containers":
            engine.ask("DELETE", container(str(part["Id"])), force="1", v="1")
        else:
            engine.ask("DELETE", f"/{kind}/{part['Id' if kind == 'networks' else 'Name']}")
    except EngineError as error:
        if error.status == HTTPStatus.NOT_FOUND or error.status in _BUSY:
            return 0
        raise
    return 1


def _of(args: Args, left_s: LeftS) -> tuple[Engine, str]:
    return Engine(str(args["engine"]), left_s), str(args["container"])


def _ignoring(status: HTTPStatus, deed: Callable[[], object]) -> bool:
    """Do something; whether it was refused with that status."""
    try:
        deed()
    except EngineError as error:
        if error.status != status:
            raise
        return True
    return False


def _text(path: Path) -> str | None:
    try:
        return path.read_text()
    except FileNotFoundError:
        return None
