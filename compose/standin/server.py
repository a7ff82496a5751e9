"""The life of one replica: start, ready, serve, drain (cli/server.go)."""

import asyncio
import contextlib
import os
import resource
import signal
from functools import partial
from typing import Any

import aiohttp
from aiohttp import web

from standin.acknowledge import Acknowledger
from standin.app import make_app
from standin.clock import Clock
from standin.config import Settings
from standin.db import Database
from standin.errors import DATABASE_ERRORS
from standin.events import Events
from standin.health import HealthCache
from standin.inflight import InFlight
from standin.leak import BUGS as LEAK_BUGS
from standin.leak import look_forever
from standin.listening import listen, stop_listening
from standin.log import LOG, one_line
from standin.metrics import Metrics, serve_metrics
from standin.migrations import MigrationError, migrate
from standin.notifications import notify_forever
from standin.provisioner import Provisioner
from standin.pubsub import PubSub
from standin.ratelimit import RateLimiter
from standin.reaper import reap_forever
from standin.replicas import Replicas
from standin.requestlock import BUGS as LOCK_BUGS
from standin.requestlock import TURN_BUGS, refresh_forever, upkeep_forever
from standin.services import Services
from standin.sockets import Sockets
from standin.stats import DeploymentStats
from standin.trips import fill_current

# Wall seconds.
_IN_FLIGHT_SECONDS = 3.0  # cli/server.go: HTTP Shutdown gets 3 s
_CUT_SECONDS = 0.5  # for what is left after that
_FILES = 1 << 20
_SLOW_DRAIN_SECONDS = 1.0
_SLOW_EXIT_SECONDS = 3.0
_POOL_DELAYS = {"ready-before-pool": 4.0, "slow-ready": 2.0}


class StartError(Exception):
    """The replica cannot start; the text is one line for the log."""


class Replica:
    """One ``coder server``. ``start`` returns once it is ready; ``stop`` drains and leaves."""

    def __init__(self, settings: Settings) -> None:
        clock = Clock(settings.scale)
        db = Database(settings.postgres_url, settings.pool_max, settings.trips_per_query)
        metrics = Metrics()
        if settings.collect_db_metrics:
            db.observe = metrics.watch_queries()
        pubsub = PubSub(db, clock, metrics)
        replicas = Replicas(settings, clock, db, pubsub)
        self.services = Services(
            settings=settings,
            clock=clock,
            db=db,
            pubsub=pubsub,
            events=Events(pubsub),
            replicas=replicas,
            provisioner=Provisioner(settings, clock, db, pubsub, replica=replicas.id, metrics=metrics),
            acknowledger=Acknowledger(db, settings.bugs, settings.pool_max),
            sockets=Sockets(clock, partial(fill_current, db)),
            in_flight=InFlight(),
            limiter=RateLimiter(off=settings.rate_limits_off),
            stats=DeploymentStats(db, clock, metrics),
            metrics=metrics,
            health=HealthCache(clock.server(settings.health_refresh)),
            http=aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True)),
        )
        # As Go's net/http does: who goes away takes the context of his request with him, and what was not committed.
        self._runner = web.AppRunner(
            make_app(self.services), access_log=None, shutdown_timeout=_CUT_SECONDS, handler_cancellation=True
        )
        self._chores: list[asyncio.Task[None]] = []
        self._joined = False
        self._listener: asyncio.Server | None = None
        self._scrapes: web.AppRunner | None = None

    async def start(self) -> None:
        """Open pool, schema, LISTEN and membership, and only then the listener; raise StartError on failure."""
        settings, services = self.services.settings, self.services
        if settings.prometheus is not None:
            self._scrapes = await serve_metrics(services.metrics, *settings.prometheus)
        early = "ready-before-pool" in settings.bugs
        if early:
            await self._listen()
        await asyncio.sleep(max((wait for bug, wait in _POOL_DELAYS.items() if bug in settings.bugs), default=0.0))
        try:
            await services.db.open()
            await migrate(services.db, settings.bugs)
            services.deployment_id = await services.db.value(
                "SELECT value FROM site_configs WHERE key = 'deployment_id'",
            )
            await services.pubsub.start()
            await services.replicas.start()
            self._joined = True
            await services.provisioner.start()
            self._chores = [
                asyncio.create_task(reap_forever(services.db, services.clock), name="job-reaper"),
                asyncio.create_task(notify_forever(services.db, services.clock), name="notifier"),
                asyncio.create_task(services.stats.refresh_forever(), name="deployment-stats"),
            ]
            if settings.bugs & TURN_BUGS:
                self._chores.append(asyncio.create_task(refresh_forever(services.db), name="refresh"))
            if settings.bugs & LEAK_BUGS:
                returns = "pool-returns-late" in settings.bugs
                looking = look_forever(services.db, settings.pool_max, returns=returns)
                self._chores.append(asyncio.create_task(looking, name="look"))
            if settings.bugs & LOCK_BUGS:
                self._chores.append(asyncio.create_task(upkeep_forever(services.db, settings.bugs), name="upkeep"))
            if not early:
                await self._listen()
            await services.replicas.greet(services.http)
        except MigrationError as error:
            raise StartError(f"migration failed: {error}") from error
        except DATABASE_ERRORS as error:
            raise StartError(f"cannot use PostgreSQL: {one_line(error)}") from error

    async def stop(self, *, interrupt: bool = False) -> None:
        """Refuse new connections, finish requests and builds, close sockets with 1000, leave the membership.

        The order is cli/server.go's: while a build runs the replica serves no HTTP yet stays a member.
        ``interrupt`` (SIGINT) fails running builds instead of waiting for them.
        """
        if self._listener is not None:
            await stop_listening(self._listener)
        if self._runner.server is not None:
            for connection in set(self._runner.server.connections) - self.services.sockets.connections():
                connection.close()  # once idle; a closing one hears nothing more
        if "drain-never-ends" in self.services.settings.bugs:
            await asyncio.Event().wait()
        if "slow-drain" in self.services.settings.bugs:
            await asyncio.sleep(_SLOW_DRAIN_SECONDS)
        await self.services.in_flight.drained(_IN_FLIGHT_SECONDS)
        await self.services.provisioner.stop(interrupt=interrupt)
        await self.services.acknowledger.drain()
        await self.services.sockets.close_all()
        for chore in self._chores:
            chore.cancel()
        await asyncio.gather(*self._chores, return_exceptions=True)
        if self._joined:
            await self.services.replicas.stop()
        await self._runner.cleanup()
        if self._scrapes is not None:
            await self._scrapes.cleanup()
        await self.services.pubsub.stop()
        await self.services.http.close()
        await self.services.db.close()

    async def _listen(self) -> None:
        settings = self.services.settings
        await self._runner.setup()
        try:
            self._listener = await listen(self._runner, settings.host, settings.port)
        except OSError as error:
            raise StartError(f"cannot listen on {settings.host}:{settings.port}: {error}") from error
        LOG.info("started HTTP listener at http://%s:%d", settings.host, settings.port)


def _allow_many_files() -> None:
    """Take as many open files as may be had, as every Go program does at its start; each socket is one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _FILES if hard == resource.RLIM_INFINITY else min(hard, _FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(ValueError, OSError):  # a container may refuse; what there is must do
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


async def serve(settings: Settings) -> int:
    """Run a replica until SIGTERM, SIGHUP or SIGINT, and give the exit code: 1 when it could not start."""
    _allow_many_files()
    loop = asyncio.get_running_loop()
    caught: asyncio.Future[signal.Signals] = loop.create_future()

    def note(number: signal.Signals) -> None:
        if number is signal.SIGTERM and "ignores-sigterm" in settings.bugs:
            LOG.warning("%s received, ignored", number.name)
            return
        LOG.info("%s received, shutting down", number.name)
        if number is signal.SIGTERM and "no-drain" in settings.bugs:
            os._exit(0)
        if not caught.done():  # a second polite signal does not speed a shutdown up
            caught.set_result(number)

    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        loop.add_signal_handler(number, note, number)
    replica = Replica(settings)
    starting = asyncio.create_task(replica.start(), name="start")
    either: list[asyncio.Future[Any]] = [starting, caught]
    await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
    failure: StartError | None = None
    try:
        if starting.done():
            await starting
            LOG.info("ready replica=%s", replica.services.replicas.id)
            await caught
        else:
            starting.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await starting
    except StartError as error:
        failure = error
    await replica.stop(interrupt=caught.done() and caught.result() is signal.SIGINT)
    if failure is not None:
        LOG.error("%s", failure)
        return 1
    if "slow-exit" in settings.bugs:
        await asyncio.sleep(_SLOW_EXIT_SECONDS)
    LOG.info("stopped")
    return 0
