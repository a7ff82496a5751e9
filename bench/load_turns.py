"""Locust users that take turns in one process; prints requests per CPU second of every turn and slice, as JSON.

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

HOST, TURNS, SLICES = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
USERS = 10
TURN_S = 0.08
SLICE_S = 0.05
PATH = "/api/v2/buildinfo"
ABOVE = 1.1
"""An open loop is at its limit when more arrives than it can send: so much more than the turn before has sent."""


class Plain(FastHttpUser):
    host = HOST


class Closed(CoderUser):
    host = HOST


class Opened(ArrivalRateUser):
    host = HOST

    @task
    def ask(self) -> None:
        self.client.request("GET", PATH, name=PATH)
        counts["open, recorded"] += 1


TITLES = {Plain: "FastHttpUser", Closed: "closed, recorded", Opened: "open, recorded"}
ON, OFF = "recorder on", "recorder off"
counts = dict.fromkeys(TITLES.values(), 0)
speed = dict.fromkeys(TITLES.values(), 0.0)
"""Requests per second of the last turn, by the clock on the wall."""


class Loop:
    """Users of one kind, each in a loop of its own while it is their turn."""

    def __init__(self, kind: type[FastHttpUser], environment: Environment) -> None:
        self._turn = Event()
        self._title = TITLES[kind]
        self.users = [kind(environment) for _ in range(USERS)]
        for user in self.users:
            gevent.spawn(self._ask, user)

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
    Opened.recorder.flush()  # what a turn has recorded is written at its own expense
    rate = (counts[title] - done) / (time.process_time() - cpu)
    speed[title] = (counts[title] - done) / (time.monotonic() - began)
    side.end()
    gevent.sleep(0.02)
    return rate


def switched(side: Loop, title: str) -> dict[str, list[float]]:
    """Requests per CPU second of slices with the recorder on and off, while the same users go on without a pause.

    What makes a machine slow lasts longer than a slice, so it meets both of a pair alike.
    """
    recorder, luck = Closed.recorder, Random(1)
    rates: dict[str, list[float]] = {ON: [], OFF: []}
    side.begin()
    gevent.sleep(0.1)
    for _ in range(SLICES):
        for which in luck.sample([ON, OFF], 2):
            for user in side.users:
                user.client.recorder = recorder if which == ON else None
            done, cpu = counts[title], time.process_time()
            gevent.sleep(SLICE_S)
            recorder.flush()
            rates[which].append((counts[title] - done) / (time.process_time() - cpu))
    side.end()
    return rates


def main() -> None:
    environment = Environment()
    environment.create_local_runner()
    CoderUser.settings, CoderUser.numbers = Settings.of(os.environ), count(0)
    Closed.recorder = Opened.recorder = Recorder(Path(CoderUser.settings.records), "X-Chaos-Upstream")
    sides: dict[str, Loop | Arrivals] = {TITLES[kind]: Loop(kind, environment) for kind in (Plain, Closed)}
    sides["open, recorded"] = Arrivals(environment)
    for title, side in sides.items():
        turn(side, title)
    figures = {title: [] for title in sides}
    order, luck = list(sides), Random(0)
    for _ in range(TURNS):
        luck.shuffle(order)  # nobody always comes after the same one
        for title in order:
            figures[title].append(turn(sides[title], title))
    print(json.dumps(figures | switched(sides[TITLES[Closed]], TITLES[Closed])), flush=True)
    os._exit(0)


main()
