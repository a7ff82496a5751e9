"""What one run wants of the Compose files: which of them, the variables that fill them in, and an overlay of its own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from harness.discover import data_root
from harness.errors import NotReady

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from harness.stack import StackRequest

FOLDER: Final = Path("compose")
_OVERLAYS: Final = {1: ["single-replica"], 3: [], 4: ["four-replicas"]}
_API_PORT: Final = 7080


def base() -> Path:
    """Folder that paths in the Compose files start from."""
    return data_root() / FOLDER


def files(request: StackRequest, *, offline: bool) -> list[Path]:
    """Files to merge, in order; raises NotReady for what the stack cannot be."""
    if request.coder:
        raise NotReady(f"coder={request.coder} is for the local stack: here CODER_IMAGE names an image")
    if request.replicas not in _OVERLAYS:
        raise NotReady(f"the compose stack has {', '.join(map(str, _OVERLAYS))} replicas, not {request.replicas}")
    names = ["ha", *_OVERLAYS[request.replicas], *(["offline"] if offline else [])]
    return [base() / f"{name}.yaml" for name in names]


def inside(request: StackRequest) -> dict[str, int]:
    """Port inside the container of every service that the harness reaches; the balancer comes first."""
    replicas = dict.fromkeys(_replicas(request), _API_PORT)
    return {"balancer": 80, "database": 5432, "toxiproxy": 8474, **replicas}


def variables(request: StackRequest, password: str, port: int) -> dict[str, str]:
    """What fills in the files; `port` is the balancer's on this machine."""
    checks = request.balancer
    return {
        # A replica that dies stays dead until it is undone: that is what is measured.
        "CHAOS_RESTART": "no",
        "CHAOS_PG_PASSWORD": password,
        "CHAOS_PORT": str(port),
        "CHAOS_HEALTH_INTERVAL": f"{checks.interval_s:g}s",
        "CHAOS_HEALTH_TIMEOUT": f"{checks.timeout_s:g}s",
        "CHAOS_HEALTH_FAILS": str(checks.failures),
    }


def overlay(request: StackRequest, ports: Sequence[int]) -> str:
    """Text of the run's own Compose file: each part of `inside` at one of `ports`, and the replicas' variables.

    The balancer's port is not in it: that is a variable of ha.yaml, and Compose would add a second one.
    """
    services: dict[str, dict[str, Any]] = {
        name: {"ports": [f"127.0.0.1:{port}:{to}"]}
        for (name, to), port in zip(inside(request).items(), ports, strict=True)
        if name != "balancer"
    }
    extra: Mapping[str, str] = {"STANDIN_TIME_SCALE": f"{request.time_scale:g}", **request.server_env}
    for name in _replicas(request):
        services[name]["environment"] = extra
    return json.dumps({"services": services}, indent=1)  # JSON is YAML


def _replicas(request: StackRequest) -> list[str]:
    return [f"coder-{number}" for number in range(1, request.replicas + 1)]
