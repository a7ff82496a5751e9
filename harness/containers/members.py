"""What the labels of a Compose project say: which container is what. Nothing else of a project is read.

The schema is closed. On containers: `coder-chaos.role` (coder, database, proxy, balancer), `replica` (a number),
`api-port`, `metrics-port` (ports in the container), `db-listener` (the replica's proxy in Toxiproxy), `lb-upstream`
(the replica as the balancer names it, HOST:PORT), `allow` (kinds of faults a foreign project permits). On networks:
`coder-chaos.link` (what the network is for).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from harness.errors import NotReady
from harness.stack import Address

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

PREFIX: Final = "coder-chaos."
KEYS: Final = frozenset({"role", "replica", "api-port", "metrics-port", "db-listener", "lb-upstream", "allow"})
LINK: Final = f"{PREFIX}link"
NAMES: Final = {"database": "postgres", "proxy": "toxiproxy", "balancer": "balancer"}
"""Names of what there is one of, by role, the same in every backend."""
ROLES: Final = ("coder", *NAMES)


@dataclass(frozen=True)
class Member:
    """One container of a stack. `container` is its id; `hostname`, `listener` and `upstream` matter for replicas only."""

    name: str
    role: str
    container: str
    address: Address
    hostname: str = ""
    listener: str = ""
    upstream: str = ""
    metrics: Address | None = None
    allow: frozenset[str] = frozenset()


def read(project: str, containers: Iterable[Mapping[str, Any]]) -> list[Member]:
    """Read the containers of a project, as the engine inspects them: replicas by number, then what there is one of.

    Containers without a label of ours are not part of the stack. Raises NotReady, one line, for anything else.
    """
    members = []
    for found in containers:
        labels = {
            key.removeprefix(PREFIX): value
            for key, value in (found["Config"]["Labels"] or {}).items()
            if key.startswith(PREFIX)
        }
        if labels:
            members.append(_member(project, found, labels))
    if not any(member.role == "coder" for member in members):
        raise NotReady(f"project {project} has no container with the label {PREFIX}role=coder: see docs/compose.md")
    for name in NAMES.values():
        if not any(member.name == name for member in members):
            role = next(role for role, known in NAMES.items() if known == name)
            raise NotReady(
                f"project {project} has no container with the label {PREFIX}role={role}: see docs/compose.md"
            )
    seen: dict[str, Member] = {}
    for member in members:
        other = seen.setdefault(member.name, member)
        if other is not member:
            raise NotReady(
                f"project {project} has two containers that are {member.name}, {other.container[:12]} and "
                f"{member.container[:12]}: {'scale is not for replicas; ' if member.role == 'coder' else ''}"
                f"give each its own labels"
            )
    order = [*NAMES.values()]
    return sorted(members, key=lambda m: (m.name in order, order.index(m.name) if m.name in order else 0, m.name))


def check(project: str, members: Iterable[Member], replicas: int, allow: frozenset[str]) -> None:
    """Check what was found in a project that is not ours against what a run wants; raises NotReady."""
    coders = [member for member in members if member.role == "coder"]
    if len(coders) != replicas:
        raise NotReady(
            f"project {project} has {len(coders)} replicas, the run expects {replicas}: --replicas {len(coders)}"
        )
    for member in coders:
        for label, what in ((member.listener, "db-listener"), (member.upstream, "lb-upstream")):
            if not label:
                raise NotReady(
                    f"{member.name} of project {project} needs the label {PREFIX}{what}: see docs/compose.md"
                )
        if member.allow and not allow <= member.allow:
            refused = ", ".join(sorted(allow - member.allow))
            raise NotReady(
                f"{member.name} of project {project} permits {', '.join(sorted(member.allow))}, not {refused}"
            )


def _member(project: str, found: Mapping[str, Any], labels: Mapping[str, str]) -> Member:
    where = f"container {found['Name'].lstrip('/')} of project {project}"
    for key in labels:
        if key not in KEYS:
            known = ", ".join(sorted(KEYS))
            raise NotReady(f"{where} has the label {PREFIX}{key}, which means nothing; known are {known}")
    role = labels.get("role", "")
    if role not in ROLES:
        raise NotReady(f"{where} has the role {role!r}; known are {', '.join(ROLES)}")
    number = labels.get("replica", "")
    if role == "coder" and not (number.isascii() and number.isdecimal()):
        raise NotReady(f"{where} needs the label {PREFIX}replica with its number, not {number!r}")
    return Member(
        name=f"coder-{int(number)}" if role == "coder" else NAMES[role],
        role=role,
        container=found["Id"],
        address=_address(where, found, labels, "api-port"),
        hostname=found["Config"].get("Hostname", ""),
        listener=labels.get("db-listener", ""),
        upstream=labels.get("lb-upstream", ""),
        metrics=_address(where, found, labels, "metrics-port") if "metrics-port" in labels else None,
        allow=frozenset(labels.get("allow", "").replace(",", " ").split()),
    )


def _address(where: str, found: Mapping[str, Any], labels: Mapping[str, str], key: str) -> Address:
    """Where the harness reaches a port of a container: as published, else at the container's own address."""
    port = labels.get(key, "")
    if not (port.isascii() and port.isdecimal() and 0 < int(port) < 1 << 16):
        raise NotReady(f"{where} needs the label {PREFIX}{key} with a port, not {port!r}")
    settings = found["NetworkSettings"]
    for published in settings["Ports"].get(f"{port}/tcp") or ():
        host = published["HostIp"]
        return Address("127.0.0.1" if host in ("", "0.0.0.0", "::") else host, int(published["HostPort"]))  # noqa: S104
    ips = [network["IPAddress"] for network in settings["Networks"].values() if network["IPAddress"]]
    if not ips:
        raise NotReady(f"{where} neither publishes port {port} nor has an address: does it run?")
    return Address(ips[0], int(port))
