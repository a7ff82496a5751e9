"""People who stop and start their workspaces, one build after the other. Closed: they wait for the build.

User k works on the workspaces of its token whose name is `load-k` or begins with `load-k-`, and on no other: the write
history of the harness, and people, have workspaces of their own. None is created or deleted here. A user who finds none
says so once and looks again every 30 s.

```
locust -f loadtests/builds.py -H https://coder.example.com --headless -u 2 -r 2
```
makes about 2 requests per second, one per user: a build is asked after until it is over.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from locust import task

if TYPE_CHECKING:
    from loadtests._client import CoderUser
    from loadtests._pages import API, BUSY, REFETCH_IDLE_S, WORKSPACES, Workspace, listed
    from loadtests._session import say_once
else:  # Locust puts this folder on the path, not the one above it.
    from _client import CoderUser
    from _pages import API, BUSY, REFETCH_IDLE_S, WORKSPACES, Workspace, listed
    from _session import say_once

STOPPED: Final = frozenset({"stopped", "canceled", "failed"})


class ClosedBuildUser(CoderUser):
    """Somebody who needs a workspace now and then."""

    def on_start(self) -> None:
        """Begin in a phase of one's own."""
        self.stay(self.random.random() / self.settings.pace)
        super().on_start()

    @task
    def build_one(self) -> None:
        """Stop a workspace that runs, start one that does not, and wait for the end of the build."""
        mine = [one for one in self.workspaces() if self.owns(one.name) and one.status not in BUSY]
        if not mine:
            text = f"user {self.number} has no workspace load-{self.number} at rest, so it builds nothing"
            say_once("builds", f"{text}; `coder create load-{self.number}` with its token makes one")
            self.stay(REFETCH_IDLE_S)
            return
        one = self.random.choice(mine)
        self.think()
        body = {"transition": "start" if one.status in STOPPED else "stop"}
        path = f"{API}/workspaces/{one.id}/builds"
        build = self.client.request("POST", path, name=f"{API}/workspaces/{{workspace}}/builds", json=body).js
        while isinstance(build, dict) and build.get("status") in BUSY:
            self.think()
            path = f"{API}/workspacebuilds/{build['id']}"
            build = self.client.request("GET", path, name=f"{API}/workspacebuilds/{{workspacebuild}}").js
        self.think()

    def workspaces(self) -> tuple[Workspace, ...]:
        """Workspaces of one's token, none when the list could not be had."""
        answer = self.client.request("GET", f"{API}{WORKSPACES}", name=f"{API}/workspaces")
        return listed(answer.js) or ()

    def owns(self, name: str) -> bool:
        """Say whether a workspace is named for this user."""
        return name == f"load-{self.number}" or name.startswith(f"load-{self.number}-")

    def think(self) -> None:
        """Pause for as long as a request is worth at the pace, on average."""
        self.stay(self.random.expovariate(self.settings.pace))
