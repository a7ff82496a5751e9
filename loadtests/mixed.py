"""Everybody at once, by weights: people on the dashboard, tabs left open, arrivals of the API, templates, builds.

```
locust -f loadtests/mixed.py -H https://coder.example.com --headless -u 20 -r 20
```
makes about 20 requests per second: 10 closed, by people who wait for answers, and 10 open, which come when they are due.
Records carry both. Only the open ones say how long a freeze lasted; the closed ones say what people felt of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from loadtests import arrivals, builds, dashboard, pollers, templates
else:  # Locust puts this folder on the path, not the one above it.
    import arrivals
    import builds
    import dashboard
    import pollers
    import templates


class ClosedDashboardUser(dashboard.ClosedDashboardUser):
    """See `dashboard.py`."""

    weight = 40


class ClosedTemplateUser(templates.ClosedTemplateUser):
    """See `templates.py`."""

    weight = 6


class ClosedBuildUser(builds.ClosedBuildUser):
    """See `builds.py`."""

    weight = 4


class OpenWorkspaceListUser(pollers.OpenWorkspaceListUser):
    """See `pollers.py`."""

    weight = 30


class OpenApiUser(arrivals.OpenApiUser):
    """See `arrivals.py`."""

    weight = 20
