"""What stands between the network and a handler: identity, limits, one deadline, error answers."""

import asyncio
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager, contextmanager, nullcontext

from aiohttp import web

from standin.abandoned import BUGS as ABANDONED_BUGS
from standin.abandoned import surviving
from standin.audit_log import ENTRY, write_entry
from standin.auth import ACTOR, Actor, authenticate, check_csrf
from standin.errors import DATABASE_ERRORS, ApiError, forbidden, internal
from standin.log import LOG, one_line
from standin.requestlock import BUGS as LOCK_BUGS
from standin.requestlock import TURN_BUGS, locked, pass_by
from standin.routing import Access, Handler, Route, answer
from standin.services import Services
from standin.trips import CURRENT, Trips

_DEADLINE_SECONDS = 50.0  # wall: whatever the database does, no plain request stays open for a minute
_MORE_QUERIES = {"n-plus-one": 40, "few-more-queries": 6}
_BYPASS = "X-Coder-Bypass-Ratelimit"


def is_upgrade(request: web.Request) -> bool:
    """Say whether a request asks for a WebSocket."""
    return request.headers.get("Upgrade", "").lower() == "websocket"


def guard(route: Route, services: Services) -> Handler:
    """Wrap a route's handler with everything the route asks for."""
    bugs = services.settings.bugs
    holds_lock = bool(bugs & LOCK_BUGS) and route.access is not Access.PUBLIC
    outlives = bool(bugs & ABANDONED_BUGS) and route.builds
    more = max((count for bug, count in _MORE_QUERIES.items() if bug in bugs), default=0)

    def scope() -> AbstractAsyncContextManager[None]:
        if holds_lock:
            return locked(services.db, bugs)
        return nullcontext()

    async def admit(request: web.Request) -> dict[str, str]:
        """Check token, role and rate; give the rate headers."""
        actor: Actor | None = None
        if route.path != "/users/first":  # exempt, as there is nobody yet whom a browser could vouch for
            check_csrf(request)
        if route.access is not Access.PUBLIC:
            actor = await authenticate(services.db, request)
            request[ACTOR] = actor
            await _ask_beside(services, more)
        headers = _take(services, route, request, actor)
        if route.access is Access.OWNER and actor is not None and not actor.owner:
            raise forbidden()
        return headers

    key = f"{route.method} {route.path}"

    async def handle(request: web.Request) -> web.StreamResponse:
        CURRENT.set(Trips(key, services.settings.trips_per_query))
        if route.streams or is_upgrade(request):
            async with scope():
                await admit(request)
            return await route.handler(request)
        with services.in_flight.counted():
            async with asyncio.timeout(_DEADLINE_SECONDS), scope():
                headers = await admit(request)
                response = await _audited(route, services, request)
        response.headers.update(headers)
        return response

    return surviving(handle, checked="late-write-checked" in bugs) if outlives else handle


async def _ask_beside(services: Services, count: int) -> None:
    """Make the round trips of seeded bugs, which come on top of those of the table."""
    bugs = services.settings.bugs
    with _beside():
        for _ in range(count):
            await services.db.value("SELECT 1")
        if bugs & TURN_BUGS:
            await pass_by(services.db, waits="shared-lock-contention" in bugs)


@contextmanager
def _beside() -> Iterator[None]:
    """Count the round trips of the body on top of those of the table."""
    trips = CURRENT.get()
    before = trips.made if trips is not None else 0
    yield
    if trips is not None:
        trips.beside += trips.made - before


async def _audited(route: Route, services: Services, request: web.Request) -> web.StreamResponse:
    """Run the handler, make the round trips that are missing, then write what it left for the audit log."""
    try:
        response = await route.handler(request)
    except Exception as error:
        await write_entry(services.db, request, error.status if isinstance(error, ApiError) else 500)
        raise
    trips = CURRENT.get()
    if trips is not None:
        await trips.fill(services.db, leave=1 if ENTRY in request else 0)
    await write_entry(services.db, request, response.status)
    return response


def _take(services: Services, route: Route, request: web.Request, actor: Actor | None) -> dict[str, str]:
    """Count the request against its caller; an owner may ask to be let through, others get 428 for asking."""
    if actor is not None and request.headers.get(_BYPASS, "").lower() == "true":
        if not actor.owner:
            raise ApiError(428, f'"{_BYPASS}" provided but user is not owner')
        return {}
    caller = str(actor.id) if actor is not None else request.remote or ""
    limit = services.settings.rate_limit if route.limit is None else route.limit
    return services.limiter.take(caller, request.path, limit)


@web.middleware
async def errors_as_answers(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn what handlers raise into Coder's answers; nothing but a cancelled request gets past this."""
    try:
        return await handler(request)
    except ApiError as error:
        if error.status >= 500:
            LOG.warning("%s %s: %d %s", request.method, request.path, error.status, error.detail or error.message)
        return answer(error.body(), error.status, error.headers)
    except web.HTTPException as error:
        return web.Response(status=error.status, text=error.text or "", headers=_kept(error))
    except DATABASE_ERRORS as error:
        LOG.warning("%s %s: 500 %s", request.method, request.path, one_line(error))
        wrapped = internal(error)
    except Exception as error:  # noqa: BLE001 - a handler's mistake is a 500, not the end of the replica
        LOG.error("%s %s: 500 unforeseen %s", request.method, request.path, one_line(error))
        wrapped = internal(error)
    return answer(wrapped.body(), wrapped.status)


def _kept(error: web.HTTPException) -> dict[str, str]:
    """Keep the headers that carry meaning, such as Allow of a 405."""
    return {name: value for name, value in error.headers.items() if name.lower() in {"allow", "location"}}
