"""Arrivals of GETs to the first of PATHS until GETS are sent; then the run ends, unless GETS is 0.

STALL seconds into the run the process stops doing anything for STALL_FOR seconds, as one without a CPU would. What
Locust's tables were told goes into the file TOLD as [[milliseconds or null, due], ...].
"""

import json
import os
from itertools import count
from pathlib import Path

import gevent
from _arrivals import ArrivalRateUser
from gevent.monkey import get_original
from locust import events, task

PATH = os.environ["PATHS"].split()[0]
GETS, STALL, STALL_FOR = (
    int(os.environ["GETS"]),
    float(os.environ.get("STALL", "0")),
    float(os.environ.get("STALL_FOR", "0")),
)
sent = count(1)
told = []


class OpenGetUser(ArrivalRateUser):
    @task
    def ask(self) -> None:
        nth = next(sent)
        if GETS and nth > GETS:
            return
        self.client.get(PATH)
        if nth == GETS:
            gevent.spawn(self.environment.runner.quit)  # it waits for this very greenlet


@events.request.add_listener
def tell(response_time, context, **_) -> None:
    told.append([response_time, context["due_ns"]])


@events.spawning_complete.add_listener
def stall(**_) -> None:
    if STALL_FOR:
        gevent.spawn_later(STALL, get_original("time", "sleep"), STALL_FOR)


@events.quit.add_listener
def write(**_) -> None:
    if "TOLD" in os.environ:
        Path(os.environ["TOLD"]).write_text(json.dumps(told))
