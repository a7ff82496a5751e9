"""Dashboards left open: each asks for its list of workspaces on a timer, whatever became of the last answer. Open.

A tab asks every 30 s, every 5 s while a build is under way (site/src/pages/WorkspacesPage/WorkspacesPage.tsx). A user
here stands for as many tabs as make one request per second together: 30 that are idle, or 5 that watch a build.

```
locust -f loadtests/pollers.py -H https://coder.example.com --headless -u 10 -r 10
```
makes exactly 10 arrivals per second.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from locust import task

if TYPE_CHECKING:
    from loadtests._arrivals import ArrivalRateUser
    from loadtests._pages import API, WORKSPACES
else:  # Locust puts this folder on the path, not the one above it.
    from _arrivals import ArrivalRateUser
    from _pages import API, WORKSPACES


class OpenWorkspaceListUser(ArrivalRateUser):
    """Tabs with the list of workspaces."""

    @task
    def poll(self) -> None:
        """Ask for the list once."""
        self.client.request("GET", f"{API}{WORKSPACES}", name=f"{API}/workspaces")
