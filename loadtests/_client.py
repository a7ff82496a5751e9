"""A simulated user of Coder: a token, a number, a random source, connections of its own, a record of every request."""

from __future__ import annotations

import os
import sys
from itertools import count
from random import Random
from typing import TYPE_CHECKING, ClassVar

import gevent
from gevent.event import Event
from locust import FastHttpUser, constant, events
from locust.contrib.fasthttp import insecure_ssl_context_factory
from locust.runners import MasterRunner, WorkerRunner
from locust.user.task import LOCUST_STATE_STOPPING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from locust.env import Environment

    from loadtests import _tables
    from loadtests._http import Agent
    from loadtests._recorder import Recorder
    from loadtests._session import RecordedSession, say_once
    from loadtests._settings import Settings
else:  # Locust puts this folder on the path, not the one above it.
    import _tables
    from _http import Agent
    from _recorder import Recorder
    from _session import RecordedSession, say_once
    from _settings import Settings

_tables.install()


class CoderUser(FastHttpUser):
    """A user with a token, a number, a random source and a connection pool of its own.

    Own pools matter: a shared one would spread the users over the replicas as one client, not as many.
    """

    abstract = True
    wait_time = constant(0)
    insecure = False
    concurrency = 1

    client: RecordedSession
    settings: ClassVar[Settings]
    recorder: ClassVar[Recorder | None] = None
    numbers: ClassVar[Iterator[int]]

    def __init__(self, environment: Environment) -> None:
        settings = self.settings
        self.number = next(self.numbers)
        self.stopping = Event()
        self.random = Random(f"{settings.seed}:{self.number}")
        self.default_headers = settings.headers(self.number)
        super().__init__(environment)
        session = RecordedSession(self.host, environment.events.request, self, insecure=self.insecure)
        session.client = Agent(
            self.default_headers,
            ssl_context_factory=self.ssl_context_factory or (insecure_ssl_context_factory if self.insecure else None),
            insecure=self.insecure,
            concurrency=self.concurrency,
            connection_timeout=settings.connect_timeout,
            network_timeout=settings.network_timeout,
        )
        session.recorder = self.recorder
        self.client = session

    def on_start(self) -> None:
        """Lift the rate limits where that is asked for and the token is an owner's: anybody else gets 428 for it."""
        if not self.settings.bypass:
            return
        me = self.client.request("GET", "/api/v2/users/me").js
        roles = me.get("roles", []) if isinstance(me, dict) else []
        self.client.bypass = any(role.get("name") == "owner" for role in roles)
        if not self.client.bypass:
            say_once("bypass", f"user {self.number}: the token is not seen to be an owner's, so its rate limits stay")

    def stay(self, seconds: float) -> None:
        """Wait inside of a task. A user who is stopped meanwhile goes at once."""
        if self.stopping.wait(max(0.0, seconds)):
            # Not StopUser: Locust takes that from a task, but reports it as an error when it comes from `on_start`.
            raise gevent.GreenletExit

    def stop(self, force: bool = False) -> bool:
        """Go after the request in flight, if there is one; `force` goes at once.

        Locust kills whoever sleeps, and such a kill can come just after the sleep, in the middle of the next request.
        """
        if force:
            return bool(super().stop(force=True))
        self._state = LOCUST_STATE_STOPPING
        self.stopping.set()
        return False


def _prepare(environment: Environment, **_: object) -> None:
    runner = environment.runner
    if isinstance(runner, MasterRunner):
        return  # it has no users
    worker = runner.worker_index if isinstance(runner, WorkerRunner) else None
    try:
        settings = Settings.of(os.environ)
        records = settings.records_of(worker)
    except (ValueError, OSError) as error:
        sys.stderr.write(f"load: {error}\n")
        sys.exit(2)
    CoderUser.settings = settings
    CoderUser.numbers = count(settings.first_of(worker))
    if records:
        recorder = CoderUser.recorder = Recorder(records, settings.upstream_header, settings.upstream_ports)
        # After `quit` no user runs; `test_stop` would come before the last of them is killed.
        environment.events.quit.add_listener(lambda **_: recorder.close())  # type: ignore[no-untyped-call]


events.init.add_listener(_prepare)  # type: ignore[no-untyped-call]
