"""The Compose files and image contexts say what they must, and do not drift apart."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from harness.containers import members, rendering
from harness.containers.images import LABEL, PARTS
from harness.errors import NotReady
from harness.stack import StackRequest
from harness.variables import PASSED

COMPOSE = Path(__file__).parents[3] / "compose"
FILES = sorted(path.stem for path in COMPOSE.glob("*.yaml"))
OVERLAYS = [name for name in FILES if name != "ha"]
NAMED_FOR_EACH = {"hostname", "CODER_PG_CONNECTION_URL", "CODER_DERP_SERVER_RELAY_URL", "CODER_CLUSTER_HOST"}

WANTED = {
    "CODER_HTTP_ADDRESS": r"0\.0\.0\.0:7080",
    "CODER_ACCESS_URL": r"\$\{CHAOS_ACCESS_URL:-http://.+\}",
    "CODER_PG_CONNECTION_URL": r"postgres://coder:\$\{CHAOS_PG_PASSWORD:-coder\}@toxiproxy:\d+/coder\?sslmode=disable",
    "CODER_DERP_SERVER_RELAY_URL": r"http://coder-\d:7080",
    "CODER_CLUSTER_HOST": r"coder-\d",
    "CODER_PROMETHEUS_ENABLE": "true",
    "CODER_PROMETHEUS_ADDRESS": r"0\.0\.0\.0:2112",
    "CODER_PROMETHEUS_COLLECT_DB_METRICS": "true",
    "CODER_TELEMETRY_ENABLE": r"\$\{CHAOS_TELEMETRY:-false\}",
    "CODER_DERP_SERVER_STUN_ADDRESSES": r"\$\{CHAOS_STUN_ADDRESSES:-disable\}",
    "CODER_API_RATE_LIMIT": "-1",
    "CODER_HEALTH_CHECK_REFRESH": r"\$\{CHAOS_HEALTH_REFRESH:-\w+\}",
    "CODER_PROVISIONER_DAEMONS": r"\$\{CHAOS_PROVISIONER_DAEMONS:-\d+\}",
    "CODER_WILDCARD_ACCESS_URL": r"\$\{CHAOS_WILDCARD_ACCESS_URL:-\}",
    "CODER_UPDATE_CHECK": "false",
    "CODER_CACHE_DIRECTORY": r"/.+",
}
"""What a replica of a multi-replica deployment in Docker needs in its environment, and how it may look."""


class Loader(yaml.SafeLoader):
    """Reads Compose's own tags as what they hold."""


def _tagged(loader: Loader, _: str, node: yaml.Node) -> Any:
    if isinstance(node, yaml.MappingNode):
        return loader.construct_mapping(node, deep=True)
    if isinstance(node, yaml.SequenceNode):
        return loader.construct_sequence(node, deep=True)
    return None


Loader.add_multi_constructor("!", _tagged)


def load(name: str) -> dict[str, Any]:
    return yaml.load((COMPOSE / f"{name}.yaml").read_text(), Loader)  # noqa: S506 - it is a SafeLoader


HA = load("ha")
REPLICAS = [name for name in HA["services"] if name.startswith("coder-")]


@pytest.mark.parametrize("name", REPLICAS)
def test_each_replica_has_every_variable(name: str) -> None:
    environment = HA["services"][name]["environment"]
    assert {key: value for key, value in environment.items() if not re.fullmatch(WANTED.get(key, "."), value)} == {
        "CODER_PROVISIONER_TYPES": "${CHAOS_PROVISIONER_TYPES:-echo}"
    }
    assert set(WANTED) <= set(environment)


def test_replicas_differ_in_their_own_name_and_listener_alone() -> None:
    first = HA["services"]["coder-1"]
    proxies = {row["name"]: row for row in json.loads((COMPOSE / "toxiproxy.json").read_text())}
    services = {name: HA["services"][name] for name in REPLICAS} | {
        "coder-4": load("four-replicas")["services"]["coder-4"]
    }
    for name, service in services.items():
        text = json.dumps(service)
        port = proxies[name]["listen"].rpartition(":")[2]
        assert f"@toxiproxy:{port}/" in service["environment"]["CODER_PG_CONNECTION_URL"]
        assert service["labels"]["coder-chaos.db-listener"] == name
        assert service["labels"]["coder-chaos.lb-upstream"] == f"{name}:7080"
        if name != "coder-4":
            own = text.replace(name, "coder-1").replace(port, "15431")
            own = own.replace(f'replica": "{name[-1]}"', 'replica": "1"')
            assert own == json.dumps(first)
        else:
            assert {"hostname", *service["environment"]} == NAMED_FOR_EACH
            assert "coder-1" not in text


def test_each_listener_leads_to_the_database() -> None:
    rows = json.loads((COMPOSE / "toxiproxy.json").read_text())
    assert len({row["listen"] for row in rows}) == len(rows)
    assert {(row["upstream"], row["enabled"]) for row in rows} == {("database:5432", True)}


def test_labels_are_of_the_closed_schema() -> None:
    for name in FILES:
        for service in load(name)["services"].values():
            for label in (service or {}).get("labels") or {}:
                assert label.removeprefix(members.PREFIX) in members.KEYS, f"{name}: {label}"
    for network, made in HA["networks"].items():
        assert made["labels"] == {members.LINK: network}
    assert not LABEL.startswith(members.PREFIX), "containers inherit the labels of their image"


def test_the_database_is_reached_through_toxiproxy_alone() -> None:
    on = {name: set(service["networks"]) for name, service in HA["services"].items()}
    assert on["database"] == on["toxiproxy"] == {"database"}
    assert on["balancer"] == {"clients", "workspaces"}
    assert all(on[name] == set(HA["networks"]) for name in REPLICAS)


def test_images_are_pinned_variables_and_ports_are_bound_to_loopback() -> None:
    for name, service in HA["services"].items():
        default = re.fullmatch(r"\$\{[A-Z_]+:-(.+)\}", service["image"])
        assert default, name
        assert re.search(r":v?\d+\.\d+(\.\d+)?$", default[1]), f"{name}: {default[1]} is not pinned"
        assert all(str(port).startswith("127.0.0.1:") for port in service.get("ports", [])), name
        assert service["restart"] == "${CHAOS_RESTART:-unless-stopped}"


@pytest.mark.parametrize("name", OVERLAYS)
def test_overlays_change_what_is_there(name: str) -> None:
    new = set(load(name)["services"]) - set(HA["services"])
    assert new == {"four-replicas": {"coder-4"}, "standby": {"database-standby"}}.get(name, set())


def test_the_offline_overlay_changes_images_alone() -> None:
    for name, service in load("offline")["services"].items():
        assert set(service) == {"image", "pull_policy"}, name
        variable = HA["services"][name]["image"].partition(":-")[0]
        assert service["image"].startswith(f"{variable}:-chaos-")
        assert service["pull_policy"] == "never"
    assert set(load("offline")["services"]) == set(HA["services"])


def test_every_image_has_a_context() -> None:
    contexts = {path.name for path in (COMPOSE / "images").iterdir() if path.is_dir()}
    assert contexts == set(PARTS)
    for part in PARTS:
        assert (COMPOSE / "images" / part / "Dockerfile").read_text().startswith("ARG BASE\nFROM ${BASE}\n")


def test_the_files_of_a_run() -> None:
    def names(**request: Any) -> list[str]:
        offline = request.pop("offline", False)
        return [path.stem for path in rendering.files(StackRequest(**request), offline=offline)]

    assert names() == ["ha"]
    assert names(replicas=1, offline=True) == ["ha", "single-replica", "offline"]
    assert names(replicas=4) == ["ha", "four-replicas"]
    with pytest.raises(NotReady, match="has 1, 3, 4 replicas, not 2"):
        names(replicas=2)
    with pytest.raises(NotReady, match="CODER_IMAGE names an image"):
        names(coder="/usr/bin/coder")


def test_the_overlay_of_a_run_gives_each_part_a_port_but_the_balancer_whose_port_is_a_variable() -> None:
    request = StackRequest(replicas=1, time_scale=0.5, server_env={"STANDIN_BUGS": "x"})
    made = json.loads(rendering.overlay(request, [9, 10, 11, 12]))["services"]
    assert {name: service["ports"] for name, service in made.items()} == {
        "database": ["127.0.0.1:10:5432"],
        "toxiproxy": ["127.0.0.1:11:8474"],
        "coder-1": ["127.0.0.1:12:7080"],
    }
    assert made["coder-1"]["environment"] == {"STANDIN_TIME_SCALE": "0.5", "STANDIN_BUGS": "x"}
    env = rendering.variables(request, "secret", 9)
    assert (env["CHAOS_PORT"], env["CHAOS_RESTART"], env["CHAOS_PG_PASSWORD"]) == ("9", "no", "secret")
    known = set(re.findall(r"\$\{([A-Z_]+):-", (COMPOSE / "ha.yaml").read_text()))
    assert set(env) <= known - PASSED, "what a run decides is not the caller's"
    assert known - set(env) == PASSED | {"CHAOS_UPSTREAMS"}, "that one is an overlay's"
