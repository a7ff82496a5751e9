"""Locust users that take turns in one process; prints requests per CPU second of every turn, as JSON.

A child of `bench.load`: importing Locust patches the process.
"""

from __future__ import annotations

import json
import os
import sys
import time
from itertools import count
from pathlib import Path
from random import Random

import gevent.monkey

gevent.monkey.patch_all()

import gevent  # noqa: E402
from _arrivals import ArrivalRateUser  # noqa: E402
from _client import CoderUser  # noqa: E402
from _recorder import Recorder  # noqa: E402
from _settings import Settings  # noqa: E402
from gevent.event import Event  # noqa: E402
from locust import FastHttpUser, task  # noqa: E402
from locust.env import Environment  # noqa: E402

HOST, TURNS = sys.argv[1], int(sys.argv[2])
USERS = 10
TURN_S = 0.08
PATH = "/api/v2/buildinfo"
ABOVE = 1.1
"""An open loop is at its limit when more arrives than it can send: so much more than the turn before has sent."""


class Plain(FastHttpUser):
    host = HOST


class Closed(CoderUser):
    host = HOST


class Recorded(Closed):
    pass


class Opened(ArrivalRateUser):
    host = HOST

    @task
    def ask(self) -> None:
        self.client.request("GET", PATH, name=PATH)
        counts["open, recorded"] += 1


TITLES = {Plain: "FastHttpUser", Closed: "closed, not recorded", Recorded: "closed, recorded", Opened: "open, recorded"}
counts = dict.fromkeys(TITLES.values(), 0)
speed = dict.fromkeys(TITLES.values(), 0.0)
"""Requests per second of the last turn, by the clock on the wall."""


class Loop:
    """Users of one kind, each in a loop of its own while it is their turn."""

    def __init__(self, kind: type[FastHttpUser], environment: Environment) -> None:
        self._turn = Event()
        self._title = TITLES[kind]
        for _ in range(USERS):
            gevent.spawn(self._ask, kind(environment))

    def begin(self) -> None:
        self._turn.set()

    def end(self) -> None:
        self._turn.clear()

    def _ask(self, user: FastHttpUser) -> None:
        while True:
            self._turn.wait()
            user.client.request("GET", PATH, name=PATH)
            counts[self._title] += 1


class Arrivals:
    """Open-loop users that arrive while it is their turn."""

    def __init__(self, environment: Environment) -> None:
        self._users = [Opened(environment) for _ in range(USERS)]

    def begin(self) -> None:
        Opened.schedule._pace = ABOVE * speed["closed, recorded"] / USERS
        for user in self._users:
            user.schedule.join(user)

    def end(self) -> None:
        for user in self._users:
            user.schedule.leave(user)
        while any(user.idle < len(user.senders) for user in self._users):
            gevent.sleep(0.01)


def turn(side: Loop | Arrivals, title: str) -> float:
    side.begin()
    gevent.sleep(0.02)
    done, cpu, began = counts[title], time.process_time(), time.monotonic()
    gevent.sleep(TURN_S)
    Recorded.recorder.flush()  # what a turn has recorded is written at its own expense
    rate = (counts[title] - done) / (time.process_time() - cpu)
    speed[title] = (counts[title] - done) / (time.monotonic() - began)
    side.end()
    gevent.sleep(0.02)
    return rate


def main() -> None:
    environment = Environment()
    environment.create_local_runner()
    CoderUser.settings, CoderUser.numbers = Settings.of(os.environ), count(0)
    Recorded.recorder = Opened.recorder = Recorder(Path(CoderUser.settings.records), "X-Chaos-Upstream")
    sides: dict[str, Loop | Arrivals] = {TITLES[kind]: Loop(kind, environment) for kind in (Plain, Closed, Recorded)}
    sides["open, recorded"] = Arrivals(environment)
    for title, side in sides.items():
        turn(side, title)
    figures = {title: [] for title in sides}
    order, luck = list(sides), Random(0)
    for _ in range(TURNS):
        luck.shuffle(order)  # nobody always comes after the same one
        for title in order:
            figures[title].append(turn(sides[title], title))
    print(json.dumps(figures), flush=True)
    os._exit(0)


main()
