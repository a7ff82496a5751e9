"""A dashboard user on a clock that jumps and without a network. Prints what it asked for as [[seconds, route], ...]."""

import json
import os
import sys
from itertools import count

import _pages
import dashboard
from _client import CoderUser
from _settings import Settings
from locust.env import Environment

visits, status = int(sys.argv[1]), sys.argv[2]
asked: list[tuple[float, str]] = []


class Clock:
    now = 0.0

    @classmethod
    def monotonic(cls) -> float:
        return cls.now


class VirtualUser(dashboard.ClosedDashboardUser):
    host = "http://127.0.0.1:1"

    def stay(self, seconds: float) -> None:
        Clock.now += max(0.0, seconds)

    def get(self, route: str, name: str | None = None) -> object:
        self._sent += 1
        asked.append((Clock.now, name or route))
        if name != "/workspaces" or status == "error":
            return None
        builds = [] if status == "none" else [{"id": "w1", "latest_build": {"status": status}}]
        return {"workspaces": builds, "count": len(builds)}

    def authcheck(self) -> None:
        self._sent += 1
        asked.append((Clock.now, "/authcheck"))


_pages.time = Clock
CoderUser.settings = Settings.of(os.environ)
CoderUser.numbers = count(CoderUser.settings.first_user)
user = VirtualUser(Environment())
user.on_start()
for _ in range(visits):
    user.visit()
sys.stdout.write(json.dumps(asked))
