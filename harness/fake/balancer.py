"""A modelled balancer: round robin over the replicas it believes in, active health checks as the profile says."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from harness.fake.life import FakeProcess
    from harness.fake.replica import Replica
    from harness.timings import Balancer as Checks


class Balancer:
    """Takes a replica out after `failures` failed checks in a row, and back after one good one. Never tries twice."""

    def __init__(self, process: FakeProcess, replicas: Sequence[Replica], checks: Checks) -> None:
        self._checks = checks
        self.process = process
        self._replicas = replicas
        self._failed = dict.fromkeys((r.process.name for r in replicas), 0)
        self._turn = 0
        self._leaving = False
        process.happened.append(self._happened)
        self._check()

    def pick(self) -> Replica | None:
        """Next replica in turn, None when all are out."""
        up = [r for r in self._replicas if self._failed[r.process.name] < self._checks.failures]
        self._turn += 1
        return up[self._turn % len(up)] if up else None

    @property
    def accepts(self) -> bool:
        """Whether it takes new connections: one that was asked to leave takes none."""
        return self.process.now != "gone" and not self._leaving

    def _happened(self, what: str) -> None:
        if what == "leaving":
            self._leaving = True
        elif what == "started":
            self._leaving = False
            self._failed = dict.fromkeys(self._failed, 0)
            self._check()

    def _check(self) -> None:
        life = self.process.life
        for replica in self._replicas:
            if not replica.healthy:
                self._failed[replica.process.name] += 1
            elif replica.process.life.frozen:
                life.after(self._checks.timeout_s, self._verdict_on(replica))
            else:
                self._failed[replica.process.name] = 0
        life.after(self._checks.interval_s, self._check)

    def _verdict_on(self, replica: Replica) -> Callable[[], None]:
        def decide() -> None:
            answered = replica.healthy and not replica.process.life.frozen
            self._failed[replica.process.name] = 0 if answered else self._failed[replica.process.name] + 1

        return decide
