"""The database of the fake deployment: rows in memory, committed in order, watched by whoever subscribes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random


@dataclass
class Build:
    """One workspace build and its job."""

    number: int
    transition: str
    status: str = "pending"


@dataclass
class Workspace:
    """One workspace and its builds, oldest first."""

    id: str
    name: str
    builds: list[Build] = field(default_factory=list)
    owner: str = ""
    deleted: bool = False


@dataclass
class Member:
    """One row of the replica table: who, when it last beat (loop seconds), and how far it says the database is."""

    id: str
    hostname: str
    beat: float
    stopped: bool = False
    since: float = 0.0
    """When it joined, loop seconds."""
    latency_us: int = 0


@dataclass
class Job:
    """Work for a provisioner: a build of a workspace, or a template import (`workspace` None)."""

    finish: Callable[[str], None]
    """Ends it, as "succeeded" or "failed"."""
    workspace: Workspace | None = None


@dataclass
class Schema:
    """The migration table: `[version, dirty]` rows, made by the first start; and until when its lock is held (loop seconds)."""

    rows: list[list[Any]] = field(default_factory=list)
    free_at: float = 0.0


class Store:
    """All rows. `committed` listeners get the workspace whose build changed, `posted` ones are told of a new job."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self.tokens: dict[str, str] = {}
        """Session token to user id."""
        self.users: dict[str, str] = {}
        self.templates: dict[str, str] = {}
        self.workspaces: dict[str, Workspace] = {}
        self.versions: dict[str, str] = {}
        """Template version to the status of its import."""
        self.members: dict[str, Member] = {}
        self.jobs: list[Job] = []
        self.schema = Schema()
        self.committed: list[Callable[[Workspace], None]] = []
        self.posted: list[Callable[[], None]] = []

    def new_id(self) -> str:
        """Return an id in the form of a UUID."""
        text = f"{self._random.getrandbits(128):032x}"
        return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"

    def post(self, job: Job) -> None:
        """Queue a job."""
        self.jobs.append(job)
        for listener in self._random.sample(self.posted, len(self.posted)):  # whoever comes first takes it
            listener()

    def add_build(self, workspace: Workspace, build: Build) -> None:
        """Commit a build (and the workspace, if it is its first) and queue its job."""
        self.workspaces.setdefault(workspace.id, workspace)
        workspace.builds.append(build)

        def finish(status: str) -> None:
            build.status = status
            workspace.deleted |= build.transition == "delete" and status == "succeeded"
            self.changed(workspace)

        self.post(Job(finish, workspace))
        self.changed(workspace)

    def changed(self, workspace: Workspace) -> None:
        """Tell the listeners that a build of the workspace changed."""
        for listener in self.committed:
            listener(workspace)

    def by_name(self, name: str) -> Workspace | None:
        """Workspace of that name, unless it was deleted."""
        return next((w for w in self.workspaces.values() if w.name == name and not w.deleted), None)

    def left(self, run: str, owner: str) -> list[tuple[Any, ...]]:
        """Rows as `harness.tidy.LEFT` asks for them: what bears the run's id, but for the owner."""
        names = [f"workspace {w.name}" for w in self.workspaces.values() if not w.deleted]
        names += [f"template {name}" for name in self.templates.values()]
        names += [f"user {name}" for name in self.users.values() if name != owner]
        return [(name,) for name in names if run in name]

    def builds(self, ids: list[str]) -> list[tuple[Any, ...]]:
        """Rows as `harness.truth.SQL` asks for them: workspace, number, transition, how many times."""
        rows: dict[tuple[str, int], tuple[Any, ...]] = {}
        for workspace in (self.workspaces[i] for i in ids if i in self.workspaces):
            for build in workspace.builds:
                key = (workspace.id, build.number)
                count = rows[key][3] + 1 if key in rows else 1
                rows[key] = (*key, build.transition, count)
        return list(rows.values())
