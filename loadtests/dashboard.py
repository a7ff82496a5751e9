"""People with the dashboard open: they load it once, move between its pages and read. Closed: they wait for answers.

How often a person opens which page and how long they stay is not published; both are ours, and the second follows from
the pace:

```
locust -f loadtests/dashboard.py -H https://coder.example.com --headless -u 20 -r 4
```
makes about 20 requests per second: one per user, 60 per minute and user, spread over 14 routes, far below Coder's
limit of 512 per minute, user and route (coderd/httpmw/ratelimit.go). `_settings.py` lists the environment.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from loadtests._pages import ClosedBrowser
else:  # Locust puts this folder on the path, not the one above it.
    from _pages import ClosedBrowser


class ClosedDashboardUser(ClosedBrowser):
    """Somebody who looks after their workspaces."""

    def pages(self) -> tuple[Sequence[Callable[[], float | None]], Sequence[int]]:
        """Mostly the list, often one of the workspaces, seldom the templates."""
        return (self.open_workspaces, self.open_workspace, self.open_templates), (6, 3, 1)
