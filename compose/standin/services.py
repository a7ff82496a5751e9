"""What handlers share: one bundle per replica, found under one key of the application."""

from dataclasses import dataclass

import aiohttp
from aiohttp import web

from standin.acknowledge import Acknowledger
from standin.clock import Clock
from standin.config import Settings
from standin.db import Database
from standin.events import Events
from standin.health import HealthCache
from standin.inflight import InFlight
from standin.metrics import Metrics
from standin.provisioner import Provisioner
from standin.pubsub import PubSub
from standin.ratelimit import RateLimiter
from standin.replicas import Replicas
from standin.sockets import Sockets
from standin.stats import DeploymentStats


@dataclass(slots=True)
class Services:
    """The parts of one replica. ``deployment_id`` is known once the database is open."""

    settings: Settings
    clock: Clock
    db: Database
    pubsub: PubSub
    events: Events
    replicas: Replicas
    provisioner: Provisioner
    acknowledger: Acknowledger
    sockets: Sockets
    in_flight: InFlight
    limiter: RateLimiter
    metrics: Metrics
    health: HealthCache
    stats: DeploymentStats
    http: aiohttp.ClientSession
    deployment_id: str = ""


SERVICES = web.AppKey("services", Services)


def services_of(request: web.Request) -> Services:
    """Give the bundle of the replica that serves ``request``."""
    return request.app[SERVICES]
