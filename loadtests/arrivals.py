"""Requests of the dashboard that arrive at a constant rate, whatever became of the ones before. Open.

The mix is that of the dashboard's GETs; they come one by one, so that each counts from the moment it was due.

```
locust -f loadtests/arrivals.py -H https://coder.example.com --headless -u 20 -r 20
```
makes exactly 20 arrivals per second.
"""

from __future__ import annotations

from itertools import accumulate
from typing import TYPE_CHECKING, Final

from locust import task

if TYPE_CHECKING:
    from loadtests._arrivals import ArrivalRateUser
    from loadtests._pages import API, SHELL, WORKSPACES
else:  # Locust puts this folder on the path, not the one above it.
    from _arrivals import ArrivalRateUser
    from _pages import API, SHELL, WORKSPACES

MIX: Final = {
    WORKSPACES: 12,
    "/templates": 8,
    "/regions": 1,
    "/notifications/inbox": 1,
    **dict.fromkeys(SHELL, 1),
}
"""Routes and how often each is asked for, as in the visits of `dashboard.py`."""
_ROUTES: Final = tuple(MIX)
_SHARES: Final = tuple(accumulate(MIX.values()))


class OpenApiUser(ArrivalRateUser):
    """A share of the whole deployment's traffic."""

    @task
    def ask(self) -> None:
        """Send one GET of the mix."""
        route = self.random.choices(_ROUTES, cum_weights=_SHARES)[0]
        self.client.request("GET", f"{API}{route}", name=f"{API}{route.partition('?')[0]}")
