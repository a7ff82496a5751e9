"""Open loop: requests that arrive when they are due, whatever became of the ones before.

A closed user waits for an answer before it asks again, so a server that freezes is asked less and its freeze is counted
once per user: under a freeze of 1 s, a closed load of 100 requests/s reports a p99 of 53 to 68 ms where 1,007 ms is
true. Arrivals go on, and count from the moment they were due.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from random import Random
from typing import TYPE_CHECKING, Any, ClassVar

import gevent
from gevent.event import Event
from gevent.queue import SimpleQueue
from locust.exception import InterruptTaskSet, RescheduleTask, StopUser
from locust.user.task import LOCUST_STATE_RUNNING

if TYPE_CHECKING:
    from locust.env import Environment

    from loadtests._client import CoderUser
    from loadtests._session import say_once
else:  # Locust puts this folder on the path, not the one above it.
    from _client import CoderUser
    from _session import say_once

SHORTEST_S, LONGEST_S = 0.001, 0.02
"""Sleep of the schedule: what is due within the shortest is sent together; a change of users waits for the longest."""

_log = logging.getLogger("load")


class ArrivalDroppedError(Exception):
    """An arrival was due and not sent: its user had as many requests in flight as it may have."""


class Sender(gevent.Greenlet):  # type: ignore[misc]  # gevent has no types
    """Runs the tasks of one user, one arrival at a time. The first request of a task counts from `due_ns`.

    Senders are kept: a new greenlet for every arrival would cost half as much as its request.
    """

    def __init__(self, user: ArrivalRateUser) -> None:
        super().__init__()
        self.user = user
        self.due_ns = 0

    def _run(self) -> None:
        user, late = self.user, self.user.schedule.late
        while due := user.due.get():
            self.due_ns = due
            late[(time.monotonic_ns() - due) // 1_000_000] += 1
            try:
                user.random.choice(user.tasks)(user)  # type: ignore[operator]  # Locust's other kind has no sense here
            except (StopUser, InterruptTaskSet, RescheduleTask):
                pass
            except Exception as error:  # noqa: BLE001 - as Locust does with a task: report it and go on
                user.environment.events.user_error.fire(user_instance=user, exception=error, tb=error.__traceback__)
                _log.exception("an arrival failed")
            user.idle += 1


class Schedule:
    """The one greenlet that makes every arrival of this process, in turn for each of its users.

    Deadlines are absolute on CLOCK_MONOTONIC, evenly spaced, from a random phase on. An arrival that is overdue is
    sent late and says how late; none is left out to catch up.
    """

    def __init__(self, pace: float, seed: str) -> None:
        """`pace` is in arrivals per second and user."""
        self.late: Counter[int] = Counter()
        """Sent arrivals by whole milliseconds that they were late."""
        self.dropped = 0
        self._pace = pace
        self._random = Random(seed)
        self._users: list[ArrivalRateUser] = []
        self._turn = 0
        self._from_ns = 0.0
        self._made = 0
        self._period_ns = 0.0
        self._wanted = Event()
        gevent.spawn(self._run)

    def join(self, user: ArrivalRateUser) -> None:
        """Make arrivals for `user` too."""
        self._set_users([*self._users, user])

    def leave(self, user: ArrivalRateUser) -> None:
        """Make no more arrivals for `user`."""
        if user in self._users:
            self._set_users([other for other in self._users if other is not user])
            if not self._users:
                _log.info(self.said())
                self.late.clear()
                self.dropped = 0

    def said(self) -> str:
        """What came of it, in one line."""
        sent = self.late.total()
        rank, worst, p99 = 0.99 * sent, max(self.late, default=0), 0
        for milliseconds in sorted(self.late):
            p99, rank = milliseconds, rank - self.late[milliseconds]
            if rank <= 0:
                break
        late = f"p99 less than {p99 + 1} ms late, at most {worst + 1} ms"
        return f"open loop: {sent} arrivals sent ({late}), {self.dropped} dropped"

    def _set_users(self, users: list[ArrivalRateUser]) -> None:
        now, before = time.monotonic_ns(), self._period_ns
        left = (self._from_ns + self._made * before - now) / before if before else self._random.random()
        self._users, self._made = users, 0
        self._period_ns = 1e9 / (self._pace * len(users)) if users else 0.0
        self._from_ns = now + left * self._period_ns  # the same share of the way to the next arrival as before
        (self._wanted.set if users else self._wanted.clear)()

    def _run(self) -> None:
        while True:
            self._wanted.wait()
            now = time.monotonic_ns()
            while (due := int(self._from_ns + self._made * self._period_ns)) <= now:
                self._made += 1
                self._turn = (self._turn + 1) % len(self._users)
                self._send(self._users[self._turn], due)
            gevent.sleep(min(LONGEST_S, max(SHORTEST_S, (due - time.monotonic_ns()) / 1e9)))

    def _send(self, user: ArrivalRateUser, due: int) -> None:
        if user.idle:
            user.idle -= 1
            user.due.put(due)
            return
        if len(user.senders) < user.settings.in_flight:
            sender = Sender(user)
            user.senders.append(sender)
            user.due.put(due)
            sender.start()
            return
        self.dropped += 1
        why = f"{user.settings.in_flight} requests of its user were in flight"
        say_once("dropped", f"an arrival was dropped because {why}; the records count them all")
        user.drop(due, why)


class ArrivalRateUser(CoderUser):
    """A user whose `@task`s arrive at the pace of the settings: so many per second, on average over all such users.

    A task is one arrival. Each user has connections of its own, so arrivals spread over the replicas behind a balancer
    that knows connections only, and at most `CHAOS_LOAD_IN_FLIGHT` requests in flight. More are dropped and counted.
    A task that ends the run spawns `environment.runner.quit`, which waits for the tasks.
    """

    abstract = True
    schedule: ClassVar[Any] = None

    def __init__(self, environment: Environment) -> None:
        self.concurrency = self.settings.in_flight
        self.due: SimpleQueue = SimpleQueue()
        """Due moments of arrivals that a sender is about to take; 0 ends one."""
        self.senders: list[Sender] = []
        self.idle = 0
        super().__init__(environment)
        if ArrivalRateUser.schedule is None:
            settings = self.settings
            ArrivalRateUser.schedule = Schedule(settings.pace, f"{settings.seed}:{self.number}:arrivals")

    def run(self) -> None:  # type: ignore[misc]  # final for tasks; here the schedule runs them, not the user
        """Live until stopped. Locust calls this once, as the greenlet of the user."""
        self._state = LOCUST_STATE_RUNNING
        try:
            self.on_start()
            self.schedule.join(self)
            self.stopping.wait()
            for _ in self.senders:
                self.due.put(0)
            gevent.joinall(self.senders)
        except (StopUser, gevent.GreenletExit):
            pass
        finally:
            self.schedule.leave(self)
            gevent.killall(self.senders)  # what they had in flight stays a start without an end
            self.on_stop()  # type: ignore[no-untyped-call]

    def stop(self, force: bool = False) -> bool:
        """Send no more. What is in flight may end, as long as Locust's `--stop-timeout` allows it."""
        self.schedule.leave(self)
        return super().stop(force)

    def stay(self, seconds: float) -> None:
        """Wait inside of a task, and only this one: others of the same user go on."""
        gevent.sleep(max(0.0, seconds))

    def drop(self, due: int, why: str) -> None:
        """Record an arrival that was not sent, and show it in Locust's tables as a failure without a time."""
        name = type(self).__name__
        if self.recorder is not None:
            self.recorder.dropped(name, due)
        self.environment.events.request.fire(
            request_type="DROPPED",
            name=name,
            response_time=None,
            response_length=0,
            exception=ArrivalDroppedError(why),
            context={"due_ns": due},
        )
