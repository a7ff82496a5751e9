"""People who look for a template: its list, then one after the other. Closed: they wait for answers.

```
locust -f loadtests/templates.py -H https://coder.example.com --headless -u 5 -r 5
```
makes about 5 requests per second, one per user.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from loadtests._pages import ClosedBrowser
else:  # Locust puts this folder on the path, not the one above it.
    from _pages import ClosedBrowser


class ClosedTemplateUser(ClosedBrowser):
    """Somebody who compares templates."""

    def pages(self) -> tuple[Sequence[Callable[[], float | None]], Sequence[int]]:
        """The list again and again, and what is on it."""
        return (self.open_templates, self.open_template), (1, 2)
