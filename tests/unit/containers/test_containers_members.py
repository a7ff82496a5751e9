"""What labels say, and what is said about labels that say nonsense."""

from __future__ import annotations

from typing import Any

import pytest

from harness.containers import members
from harness.errors import NotReady
from harness.stack import Address


def container(name: str, ports: dict[str, int] | None = None, ip: str = "10.0.0.2", **labels: str) -> dict[str, Any]:
    everywhere = "0.0.0.0"  # noqa: S104 - as Docker says it
    published = {f"{inside}/tcp": [{"HostIp": everywhere, "HostPort": str(at)}] for inside, at in (ports or {}).items()}
    return {
        "Id": f"id-{name}-0123456789",
        "Name": f"/{name}",
        "Config": {"Labels": {f"coder-chaos.{key.replace('_', '-')}": value for key, value in labels.items()}},
        "NetworkSettings": {"Ports": published, "Networks": {"n": {"IPAddress": ip}}},
    }


def replica(number: str = "1", name: str = "", **more: str) -> dict[str, Any]:
    labels = {"role": "coder", "replica": number, "api_port": "7080", **more}
    return container(name or f"c{number}", **labels)


def full(number: str, **more: str) -> dict[str, Any]:
    return replica(number, db_listener=f"l{number}", lb_upstream=f"c{number}:7080", **more)


def rest() -> list[dict[str, Any]]:
    ports = {"database": "5432", "proxy": "8474", "balancer": "80"}
    return [container(role, role=role, api_port=port) for role, port in ports.items()]


def test_members_are_read_in_order_and_strangers_left_out() -> None:
    two = replica("2", db_listener="l2", lb_upstream="c2:7080", metrics_port="2112", allow="kill, partition")
    found = members.read("p", [*rest(), two, replica("1"), container("stranger")])
    assert [m.name for m in found] == ["coder-1", "coder-2", "postgres", "toxiproxy", "balancer"]
    second = found[1]
    assert (second.container, second.address, second.metrics) == (
        "id-c2-0123456789",
        Address("10.0.0.2", 7080),
        Address("10.0.0.2", 2112),
    )
    assert (second.listener, second.upstream, second.allow) == ("l2", "c2:7080", {"kill", "partition"})


def test_a_published_port_is_the_address() -> None:
    front = container("b", {"80": 8080}, role="balancer", api_port="80")
    found = members.read("p", [replica(), *rest()[:2], front])
    assert found[-1].address == Address("127.0.0.1", 8080)


@pytest.mark.parametrize(
    ("containers", "said"),
    [
        ([], "project p has no container with the label coder-chaos.role=coder"),
        ([replica(), *rest()[:2]], "project p has no container with the label coder-chaos.role=balancer"),
        ([container("x", role="king", api_port="1")], "container x of project p has the role 'king'; known are coder,"),
        ([replica(rank="1")], "container c1 of project p has the label coder-chaos.rank, which means nothing; known"),
        (
            [replica("one")],
            "container cone of project p needs the label coder-chaos.replica with its number, not 'one'",
        ),
        ([replica(api_port="http")], "container c1 of project p needs the label coder-chaos.api-port with a port, not"),
        (
            [container("x", ip="", role="coder", replica="1", api_port="80")],
            "neither publishes port 80 nor has an address",
        ),
        ([replica(), replica(name="c1b"), *rest()], "two containers that are coder-1, id-c1-012345 and id-c1b-01234"),
        ([replica(), *rest(), rest()[0]], "two containers that are postgres"),
    ],
)
def test_nonsense_is_named_in_one_line(containers: list[dict[str, Any]], said: str) -> None:
    with pytest.raises(NotReady) as caught:
        members.read("p", containers)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("coders", "allow", "said"),
    [
        ([replica()], "kill", "project p has 1 replicas, the run expects 2: --replicas 1"),
        ([replica("1"), replica("2")], "kill", "coder-1 of project p needs the label coder-chaos.db-listener"),
        ([full("1"), full("2", allow="freeze stop")], "kill", "coder-2 of project p permits freeze, stop, not kill"),
        ([full("1"), full("2", allow="kill freeze")], "kill", ""),
    ],
)
def test_a_project_of_somebody_else_is_as_the_run_expects_and_permits_it(
    coders: list[dict[str, Any]], allow: str, said: str
) -> None:
    found = members.read("p", [*coders, *rest()])
    if not said:
        members.check("p", found, 2, frozenset({allow}))
        return
    with pytest.raises(NotReady, match=said):
        members.check("p", found, 2, frozenset({allow}))
