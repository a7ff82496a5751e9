"""Registrations: what each run is about to make, written down before it makes it, so that a sweep can clear up."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.safety import proc, undo


@dataclass
class Registration:
    """What one run has outside its run directory. Change the fields, then `update`; `close` when all of it is gone.

    `temp_dirs` are folders and `cgroups` control groups, named `chaos-<run>…` and chosen before they are made. `projects`
    are steps made by `undo.remove_project`, named so too. `foreign` are the undo steps that are armed for what outlives the
    run: a deployment that is not ours.
    """

    state_dir: Path
    run: str
    run_dir: Path
    temp_dirs: list[Path] = field(default_factory=list)
    cgroups: list[Path] = field(default_factory=list)
    projects: list[undo.Step] = field(default_factory=list)
    foreign: list[undo.Step] = field(default_factory=list)
    processes: dict[str, proc.ProcessRef] = field(default_factory=dict)
    keeper: proc.ProcessRef | None = None
    harness: proc.ProcessRef = field(default_factory=lambda: proc.ref(os.getpid()))
    boot_id: str = field(default_factory=proc.boot_id)

    @property
    def path(self) -> Path:
        """Where it is kept: `<state_dir>/runs/<run>.json`."""
        return self.state_dir / "runs" / f"{self.run}.json"

    def update(self) -> None:
        """Write it, whole and on the disk when this returns; raises OSError, or ValueError for a foreign folder."""
        self.check()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        draft = self.path.with_suffix(".tmp")
        with draft.open("w") as file:
            json.dump(self._to_json(), file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(self.path)
        folder = os.open(self.path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)  # or the rename itself may be lost
        finally:
            os.close(folder)

    def check(self) -> None:
        """Raise ValueError unless every folder and project is named as ours: sweeping removes them."""
        for folder in (*self.temp_dirs, *self.cgroups):
            if not folder.is_absolute() or not folder.name.startswith(f"chaos-{self.run}"):
                raise ValueError(f"{folder} is not a folder of this run: its own name must start with chaos-{self.run}")

        for step in self.projects:
            name = step.args["project"]
            if not str(name).startswith(f"chaos-{self.run}"):
                raise ValueError(f"{name} is not a project of this run: its name must start with chaos-{self.run}")

    def close(self) -> None:
        """Forget the run: nothing of it is left."""
        self.path.unlink(missing_ok=True)

    def live(self) -> bool:
        """Tell whether the harness or the keeper of this run still lives, on this boot."""
        both = [self.harness] if self.keeper is None else [self.harness, self.keeper]
        return self.same_boot() and any(proc.state(process) != "gone" for process in both)

    def same_boot(self) -> bool:
        """Tell whether its process numbers mean anything: they do not after a reboot."""
        return self.boot_id == proc.boot_id()

    def _to_json(self) -> dict[str, Any]:
        return {
            "run": self.run,
            "boot_id": self.boot_id,
            "harness": str(self.harness),
            "keeper": None if self.keeper is None else str(self.keeper),
            "processes": {name: str(process) for name, process in self.processes.items()},
            "run_dir": str(self.run_dir),
            "temp_dirs": [str(folder) for folder in self.temp_dirs],
            "cgroups": [str(folder) for folder in self.cgroups],
            "projects": [step.to_json() for step in self.projects],
            "foreign": [step.to_json() for step in self.foreign],
        }


def load(path: Path) -> Registration:
    """Read a registration; raises OSError, or ValueError if it is broken."""
    try:
        data = json.loads(path.read_text())
        found = Registration(
            state_dir=path.parent.parent,
            run=path.stem,
            run_dir=Path(data["run_dir"]),
            temp_dirs=[Path(folder) for folder in data["temp_dirs"]],
            cgroups=[Path(folder) for folder in data.get("cgroups", [])],
            projects=[undo.Step.from_json(step) for step in data.get("projects", [])],
            foreign=[undo.Step.from_json(step) for step in data["foreign"]],
            processes={name: proc.ProcessRef.parse(text) for name, text in data["processes"].items()},
            keeper=None if data["keeper"] is None else proc.ProcessRef.parse(data["keeper"]),
            harness=proc.ProcessRef.parse(data["harness"]),
            boot_id=str(data["boot_id"]),
        )
        found.check()
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"{path} is not a registration: {type(error).__name__}: {error}") from error
    return found
