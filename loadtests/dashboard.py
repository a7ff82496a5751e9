"""People with the dashboard open: they load it once, move between its pages and read.

Requests and cadences follow the pages of coder/coder, site/src/pages/WorkspacesPage/WorkspacesPage.tsx,
site/src/pages/WorkspacePage/WorkspacePage.tsx and site/src/modules/dashboard/. How often a person opens which page and
how long they stay is not published; both are ours, and the second follows from the pace:

```
locust -f loadtests/dashboard.py -H https://coder.example.com --headless -u 20 -r 4
```
makes about 20 requests per second: one per user, 60 per minute and token, spread over 14 routes, far below Coder's
limit of 512 per minute, user and route (coderd/httpmw/ratelimit.go). `_settings.py` lists the environment.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

from locust import task

if TYPE_CHECKING:
    from loadtests._client import CoderUser
else:  # Locust puts this folder on the path, not the one above it.
    from _client import CoderUser

API: Final = "/api/v2"
SHELL: Final = (
    "/users/me",
    "/buildinfo",
    "/entitlements",
    "/experiments",
    "/appearance",
    "/organizations",
    "/regions",
    "/updatecheck",
    "/notifications/inbox",
)
"""What one full page load asks for, besides /authcheck."""

REFETCH_BUSY_S: Final = 5.0
"""The workspaces list asks again this soon while a listed build is under way (WorkspacesPage.tsx)."""
REFETCH_IDLE_S: Final = 30.0
BUSY: Final = frozenset({"pending", "starting", "stopping", "deleting", "canceling"})

LIST_VISIT: Final = 3
"""Requests that open the workspaces list."""
FIRST_VISIT: Final = len(SHELL) + 1 + LIST_VISIT
"""Requests of a first visit: the shell and its /authcheck, then the list on which everybody lands."""
GOLDEN: Final = 0.6180339887498949
"""Multiples of it, modulo 1, fill the circle evenly for every number of users: the phases of their starts."""

CHECKS: Final = {
    f"{action}-{resource}": {"object": {"resource_type": resource, "any_org": True}, "action": action}
    for resource in ("workspace", "template", "user", "group", "organization", "audit_log", "deployment_config")
    for action in ("read", "create", "update")
}
"""As many permissions as the dashboard asks about in one body, 15 to 30."""


class DashboardUser(CoderUser):
    """One person with one browser tab.

    Each visit to a page lasts, on average, as long as the requests of its opening are worth at the pace of the
    settings, so the rate of the whole load is users x pace, whatever pages are chosen. The page's own refetches come on
    top: under 3 % at a pace of 1, more for slower people, whose pages stay open longer. A visit prolonged by a slow
    server is not made up for: people do not click the clicks they have missed.
    """

    workspaces: tuple[str, ...] = ()
    _sent = 0
    _pause = 0.0

    def wait_time(self) -> float:
        """Seconds of the pause that the visit has asked for. Between two visits there is none."""
        pause, self._pause = self._pause, 0.0
        return pause

    def on_start(self) -> None:
        """Load the dashboard in a phase of one's own; users that start together would ask together for ever.

        The loads are spread over as long as they are worth at the pace, and whoever was early reads on until the last
        one has loaded. So the rate is that of the plan from the first second, with no peak and no hole behind it.
        """
        spread = FIRST_VISIT / self.settings.pace
        phase = (self.number * GOLDEN + self.random.random() / 16) % 1.0
        began = time.monotonic()
        self.stay(phase * spread)
        again = self.land()
        self.read(began + spread + self.random.random() * LIST_VISIT / self.settings.pace, again)

    @task
    def visit(self) -> None:
        """Open a page and stay on it for a while."""
        pages = (self.open_workspaces, self.open_workspace, self.open_templates)
        page = self.random.choices(pages, weights=(6, 3, 1))[0]
        arrived, before = time.monotonic(), self._sent
        again = page()
        patience = self.random.gammavariate(4.0, 0.25)  # mean 1, half of the stays between 0.6 and 1.3
        self.read(arrived + (self._sent - before) * patience / self.settings.pace, again)

    def read(self, until: float, again: float | None) -> None:
        """Stay until `until`; the page meanwhile asks for its list in `again` seconds, never if that is None."""
        while again is not None and again < until - time.monotonic():
            self.stay(again)
            again = self.refetch_workspaces()
        self.stay(until - time.monotonic())

    def stay(self, seconds: float) -> None:
        """Read the page. A user who is stopped meanwhile goes at once."""
        self._pause = max(0.0, seconds)
        self.wait()  # type: ignore[no-untyped-call]

    def land(self) -> float | None:
        """Load the dashboard itself, then the page it opens on."""
        for route in SHELL:
            self.get(route)
        self.authcheck()
        return self.open_workspaces()

    def open_workspaces(self) -> float | None:
        """Open the list of one's workspaces."""
        again = self.refetch_workspaces()
        self.get("/templates")
        self.authcheck()
        return again

    def refetch_workspaces(self) -> float | None:
        """Ask for the list and return the seconds until the next time. After an error the page stops asking."""
        listed = self.get("/workspaces?q=owner:me&limit=25&offset=0", name="/workspaces")
        found = listed.get("workspaces") if isinstance(listed, dict) else None
        if found is None:
            return None
        self.workspaces = tuple(workspace["id"] for workspace in found)
        busy = any(workspace.get("latest_build", {}).get("status") in BUSY for workspace in found)
        return REFETCH_BUSY_S if busy else REFETCH_IDLE_S

    def open_workspace(self) -> float | None:
        """Open one of the workspaces listed last; who has none looks at the list again."""
        if not self.workspaces:
            return self.open_workspaces()
        chosen = self.random.choice(self.workspaces)
        self.get(f"/workspaces/{chosen}", name="/workspaces/{id}")
        self.authcheck()
        self.get(f"/workspaces/{chosen}/builds", name="/workspaces/{id}/builds")
        return None

    def open_templates(self) -> float | None:
        """Open the list of templates, which never asks again."""
        self.get("/templates")
        self.authcheck()
        return None

    def get(self, route: str, name: str | None = None) -> Any:
        """Send a GET below the API and return the decoded body, None if there is none."""
        self._sent += 1
        return self.client.request("GET", f"{API}{route}", name=f"{API}{name or route}").js

    def authcheck(self) -> None:
        """Ask which of `CHECKS` the user may do, as each page does before it draws its buttons."""
        self._sent += 1
        self.client.post(f"{API}/authcheck", json={"checks": CHECKS})
