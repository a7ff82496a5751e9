"""The pages of Coder's dashboard: what each asks for when it opens, and the person who moves between them.

Requests and cadences follow coder/coder: site/src/pages/WorkspacesPage/WorkspacesPage.tsx,
site/src/pages/WorkspacePage/{WorkspacePage,WorkspaceReadyPage}.tsx, site/src/pages/TemplatesPage/,
site/src/pages/TemplatePage/ and site/src/modules/dashboard/. Left out are what only admins ask for, the WebSockets, which
the harness opens itself (`harness/probes`), and a few small routes that only some versions have (timings of a build,
resources of a version, sharing settings).
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import urlsplit

from locust import task

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from loadtests._client import CoderUser
    from loadtests._settings import GOLDEN
else:  # Locust puts this folder on the path, not the one above it.
    from _client import CoderUser
    from _settings import GOLDEN

API: Final = "/api/v2"
SHELL: Final = ("/users/me", "/buildinfo", "/entitlements", "/experiments", "/appearance", "/organizations")
"""What one full page load asks for first; then come /authcheck, /regions with a latency check of each, and the inbox."""

WORKSPACES: Final = "/workspaces?q=owner:me&limit=25&offset=0"
REFETCH_BUSY_S: Final = 5.0
"""The workspaces list asks again this soon while a listed build is under way (WorkspacesPage.tsx)."""
REFETCH_IDLE_S: Final = 30.0
BUSY: Final = frozenset({"pending", "starting", "stopping", "deleting", "canceling"})

PAGE_VISIT: Final = 3
"""Requests that open a page, about."""
FIRST_VISIT: Final = len(SHELL) + 3 + PAGE_VISIT
"""Requests of a first visit: the shell, then the page on which everybody lands. Latency checks come on top."""
CHECKS: Final = {
    f"{action}-{resource}": {"object": {"resource_type": resource, "any_org": True}, "action": action}
    for resource in ("workspace", "template", "user", "group", "organization", "audit_log", "deployment_config")
    for action in ("read", "create", "update")
}
"""As many permissions as the dashboard asks about in one body, 15 to 30."""


class Workspace(NamedTuple):
    """What a listed workspace tells the page that it leads to."""

    id: str
    name: str
    template: str
    version: str
    outdated: bool
    status: str


def listed(body: Any) -> tuple[Workspace, ...] | None:
    """Workspaces of a list, None if it is none."""
    found = body.get("workspaces") if isinstance(body, dict) else None
    if not isinstance(found, list):
        return None
    return tuple(
        Workspace(
            one["id"],
            one.get("name", ""),
            one.get("template_id", ""),
            one.get("template_active_version_id", ""),
            bool(one.get("outdated")),
            one.get("latest_build", {}).get("status", ""),
        )
        for one in found
    )


class ClosedBrowser(CoderUser):
    """One person with one browser tab; what they visit is `pages`.

    Each visit to a page lasts, on average, as long as the requests of its opening are worth at the pace of the
    settings, so the rate of the whole load is users x pace, whatever pages are chosen; how long a single one lasts is
    drawn from an exponential distribution. The page's own refetches come on top: under 3 % at a pace of 1, more for
    slower people, whose pages stay open longer. A visit prolonged by a slow server is not made up for: people do not
    click the clicks they have missed.
    """

    abstract = True
    workspaces: tuple[Workspace, ...] = ()
    templates: tuple[dict[str, Any], ...] = ()
    _sent = 0

    def pages(self) -> tuple[Sequence[Callable[[], float | None]], Sequence[int]]:
        """Pages to choose from and their weights; the first is the one that people land on."""
        raise NotImplementedError

    def on_start(self) -> None:
        """Load the dashboard in a phase of one's own; users that start together would ask together for ever.

        The loads are spread over as long as they are worth at the pace, and whoever was early reads on until the last
        one has loaded. So the rate is that of the plan from the first second, with no peak and no hole behind it.
        """
        spread = FIRST_VISIT / self.settings.pace
        phase = (self.number * GOLDEN + self.random.random() / 16) % 1.0
        began = time.monotonic()
        self.stay(phase * spread)
        super().on_start()
        self.load_shell()
        again = self.pages()[0][0]()
        self.read(began + spread + self.random.random() * PAGE_VISIT / self.settings.pace, again)

    @task
    def visit(self) -> None:
        """Open a page and stay on it for a while."""
        pages, weights = self.pages()
        page = self.random.choices(pages, weights=weights)[0]
        arrived, before = time.monotonic(), self._sent
        again = page()
        self.read(arrived + (self._sent - before) * self.random.expovariate(1.0) / self.settings.pace, again)

    def read(self, until: float, again: float | None) -> None:
        """Stay until `until`; the page meanwhile asks for its list in `again` seconds, never if that is None."""
        while again is not None and again < until - time.monotonic():
            self.stay(again)
            again = self.refetch_workspaces()
        self.stay(until - time.monotonic())

    def load_shell(self) -> None:
        """Load the dashboard itself."""
        for route in SHELL:
            self.get(route)
        self.authcheck()
        regions = self.get("/regions")
        for region in regions.get("regions", ()) if isinstance(regions, dict) else ():
            # A proxy is measured where it is. Load goes to the deployment under test and nowhere else.
            if region.get("healthy") and _origin(region.get("path_app_url", "")) == _origin(self.host or ""):
                self.client.request("GET", "/latency-check")
        self.get("/notifications/inbox")

    def open_workspaces(self) -> float | None:
        """Open the list of one's workspaces."""
        again = self.refetch_workspaces()
        self.get("/templates")
        self.authcheck()
        return again

    def refetch_workspaces(self) -> float | None:
        """Ask for the list and return the seconds until the next time. After an error the page stops asking."""
        found = listed(self.get(WORKSPACES, name="/workspaces"))
        if found is None:
            return None
        self.workspaces = found
        return REFETCH_BUSY_S if any(one.status in BUSY for one in found) else REFETCH_IDLE_S

    def open_workspace(self) -> float | None:
        """Open one of the workspaces listed last; who has none looks at the list again."""
        if not self.workspaces:
            return self.open_workspaces()
        one = self.random.choice(self.workspaces)
        self.get(f"/users/me/workspace/{one.name}?include_deleted=true", name="/users/{user}/workspace/{workspacename}")
        self.get(f"/templates/{one.template}", name="/templates/{template}")
        self.authcheck()
        self.get(f"/workspaces/{one.id}/builds", name="/workspaces/{workspace}/builds")
        if one.outdated:
            self.get(f"/templateversions/{one.version}", name="/templateversions/{templateversion}")
        return None

    def open_templates(self) -> float | None:
        """Open the list of templates, which never asks again."""
        found = self.get("/templates")
        self.templates = tuple(found) if isinstance(found, list) else ()
        self.authcheck()
        return None

    def open_template(self) -> float | None:
        """Open one of the templates listed last; where there is none, look at the list again."""
        if not self.templates:
            return self.open_templates()
        one = self.random.choice(self.templates)
        name = "/organizations/{organization}/templates/{templatename}"
        self.get(f"/organizations/{one['organization_id']}/templates/{one['name']}", name=name)
        self.get(f"/templateversions/{one['active_version_id']}", name="/templateversions/{templateversion}")
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


def _origin(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return parts.scheme, parts.netloc
