"""Throttle: holds a process of the local stack to a part of a processor, by what this machine allows.

A cgroup where we may make one; else a cycler under the keeper, which stops and continues the process by turns. Either is
written down before it exists.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness import events as ev
from harness.discover import data_root
from harness.errors import StackError
from harness.local.process import clean_env
from harness.safety import cgroup, cycler, proc, undo
from harness.safety.spec import Spec

if TYPE_CHECKING:
    from pathlib import Path

    from harness.local.process import Site

_NONE = 100.0


@dataclass
class Throttle:
    """What holds the process `process` of the target `name` down, or would. The means are chosen by the machine alone."""

    site: Site
    name: str
    process: proc.ProcessRef

    def __post_init__(self) -> None:
        """Look what the machine allows."""
        self._hierarchy = cgroup.find()

    @property
    def _group(self) -> Path | None:
        return self._hierarchy.root / f"chaos-{self.site.registration.run}-{self.name}" if self._hierarchy else None

    def undo(self) -> undo.Step:
        """Step that lets it run again."""
        return undo.cgroup_remove(self._group) if self._group else undo.cycle_stop(self.process)

    async def on(self, percent: int) -> None:
        """Hold the process, with what is below it, to `percent` of one processor; raises StackError when refused."""
        if self._hierarchy is None or self._group is None:
            env = clean_env({"PYTHONPATH": str(data_root())} if (data_root() / "harness").is_dir() else None)
            await self.site.spawn(Spec(f"cycler-{self.name}", cycler.argv(self.process, percent), env, nice=-10))
            return
        if self._group not in self.site.registration.cgroups:
            self.site.registration.cgroups.append(self._group)
        self.site.registration.update()
        self.site.context.emit(ev.ResourceCreated(what="cgroup", name=self.name, ref=str(self._group)))
        pids = [self.process.pid, *(below.pid for below in proc.descendants(self.process.pid))]
        try:
            cgroup.limit(self._hierarchy, self._group.name, percent, pids)
        except OSError as error:
            raise StackError(f"{self.name}: its cgroup {self._group} was refused: {error}") from error

    def percent(self) -> float:
        """Percent of a processor it is held to; 100 while nothing has held it back."""
        if self._group is None:
            return cycler.percent_of(self.process)
        percent, times = cgroup.throttled(self._group)
        return percent if times else _NONE
