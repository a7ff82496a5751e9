"""Control groups that give some processes a share of a processor: found, made and removed by plain files.

Versions 1 and 2 differ in one file: `cpu.cfs_quota_us` holds microseconds, `cpu.max` microseconds and the period. A
group of ours is a folder `chaos-<run>-…`, directly in the root of the hierarchy: there version 2 allows processes beside
groups. Standard library only: the keeper process imports this.
"""

from __future__ import annotations

import errno
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

PERIOD_US = 100_000
"""The kernel's own default."""
_MOUNTS = Path("/proc/self/mounts")
_PREFIX = "chaos-"


class Hierarchy(NamedTuple):
    """Where the cpu controller is: the folder of its root group, and whether it is version 2."""

    root: Path
    unified: bool


def find(mounts: Path = _MOUNTS) -> Hierarchy | None:
    """Find a hierarchy whose cpu controller we may use; None where there is none. Changes nothing."""
    for line in mounts.read_text().splitlines():
        _, where, kind, options, *_ = line.split()
        root = Path(where)
        if kind == "cgroup" and "cpu" in options.split(",") and _ours(root):
            return Hierarchy(root, unified=False)
        if kind == "cgroup2" and _ours(root):
            with suppress(OSError):
                if "cpu" in (root / "cgroup.subtree_control").read_text().split():
                    return Hierarchy(root, unified=True)
    return None


def of(pid: int, proc: Path = Path("/proc"), mounts: Path = _MOUNTS) -> Path | None:
    """Folder of the group that holds a process to its share of processors; None where it cannot be seen from here."""
    try:
        rows = [line.split(":", 2) for line in (proc / str(pid) / "cgroup").read_text().splitlines()]
        points = [line.split() for line in mounts.read_text().splitlines()]
    except OSError:
        return None
    for _, controllers, inside in sorted(rows, key=lambda row: row[1] == ""):
        for _, where, kind, options, *_ in points:
            unified = kind == "cgroup2" and not controllers
            if unified or (kind == "cgroup" and "cpu" in controllers.split(",") and "cpu" in options.split(",")):
                folder = Path(where) / inside.lstrip("/")
                if (folder / "cpu.stat").is_file():
                    return folder
    return None


def limit(hierarchy: Hierarchy, group: str, percent: float, pids: Iterable[int]) -> Path:
    """Make the group and put processes into it, each to run `percent` of one processor together; raises OSError."""
    folder = checked(hierarchy.root / group)
    folder.mkdir()
    quota = int(PERIOD_US * percent / 100)
    if hierarchy.unified:
        (folder / "cpu.max").write_text(f"{quota} {PERIOD_US}\n")
    else:
        (folder / "cpu.cfs_period_us").write_text(f"{PERIOD_US}\n")
        (folder / "cpu.cfs_quota_us").write_text(f"{quota}\n")
    for pid in pids:
        with suppress(ProcessLookupError):
            (folder / "cgroup.procs").write_text(f"{pid}\n")
    return folder


def throttled(folder: Path) -> tuple[float, int]:
    """Percent of a processor that a group may use, and how often the kernel has held it back; (0, 0) without a group."""
    try:
        if (folder / "cpu.max").exists():
            quota, period = (folder / "cpu.max").read_text().split()
        else:
            quota, period = ((folder / f"cpu.cfs_{what}_us").read_text().strip() for what in ("quota", "period"))
        stat = dict(line.split() for line in (folder / "cpu.stat").read_text().splitlines())
    except FileNotFoundError:
        return 0.0, 0
    return (100 * int(quota) / int(period) if quota.lstrip("-").isdecimal() else 0.0), int(stat.get("nr_throttled", 0))


def members(folder: Path) -> list[int]:
    """Processes of a group."""
    return [int(pid) for pid in (folder / "cgroup.procs").read_text().split()]


def remove(folder: Path, left_s: Callable[[], float]) -> str:
    """Move a group's processes to the group above it and remove it; already gone is fine.

    `left_s` gives the seconds left and raises TimeoutError when there are none: a process that dies takes a moment to
    leave its group. Raises OSError, or PermissionError for a folder that is none of our groups.
    """
    checked(folder)
    if not folder.exists():
        return f"cgroup {folder} is gone already"
    moved: set[int] = set()
    while True:
        for pid in members(folder):
            with suppress(ProcessLookupError):
                (folder.parent / "cgroup.procs").write_text(f"{pid}\n")
                moved.add(pid)
        try:
            folder.rmdir()
        except OSError as error:
            if error.errno != errno.EBUSY:
                raise
            time.sleep(min(0.01, left_s()))
        else:
            return f"removed cgroup {folder}, {len(moved)} processes moved out"


def checked(folder: Path) -> Path:
    """Give the folder back; raises PermissionError for one that is not named as a group of ours."""
    if not folder.is_absolute() or not folder.name.startswith(_PREFIX) or folder.is_symlink():
        raise PermissionError(f"{folder} is not a cgroup of ours: its own name must start with {_PREFIX}")
    return folder


def _ours(root: Path) -> bool:
    return os.geteuid() == 0 and os.access(root, os.W_OK)
