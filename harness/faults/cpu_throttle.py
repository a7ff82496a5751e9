"""CPU throttle: the replica that is up and answers, and has almost no processor left to do it with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from harness.errors import UsageError
from harness.faults.base import Shows, slows
from harness.targets import CpuLimited

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.safety.undo import Step

_LEAST_MS = 20
"""A fifth of the period in which a process gets its share: what is held back waits for the rest of it."""


@dataclass(frozen=True)
class CpuThrottle:
    """Holds the target to `percent` of one processor, by a cgroup, or by SIGSTOP and SIGCONT in turns where there is none."""

    percent: int = 5

    needs: ClassVar[type] = CpuLimited
    shows: ClassVar[Shows] = slows(_LEAST_MS)
    takes_down: ClassVar[bool] = False

    def __post_init__(self) -> None:
        """Refuse a share that holds nothing back, or everything."""
        if not 1 <= self.percent <= 50:
            raise UsageError(f"cpu-throttle: percent is {self.percent}; it must be from 1 to 50")

    async def prepare(self, target: CpuLimited) -> Sequence[Step]:
        """The undo takes the limit away, by a name chosen before."""
        return target.undo_throttle_cpu()

    async def inject(self, target: CpuLimited) -> None:
        """Hold it down."""
        await target.throttle_cpu(self.percent)

    async def effective(self, target: CpuLimited) -> bool:
        """Held to this share, and held back by it, as what holds it says."""
        return await target.cpu_percent() <= self.percent
