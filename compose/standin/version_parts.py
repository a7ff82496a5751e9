"""What a template version consists of, the form that asks for its parameters, and starter templates.

The templates of the stand-in have neither parameters nor resources, so most lists are empty (coderd/templateversions.go,
coderd/parameters.go).
"""

import json
from typing import Any

from aiohttp import WSMessage, web

from standin.body import path_uuid
from standin.errors import not_found
from standin.feeds import Close, Feed, Send
from standin.routing import Access, Route, answer
from standin.services import services_of

_DONE: Close = (1000, "")
_EXAMPLE = {
    "id": "standin",
    "url": "",
    "name": "Nothing",
    "description": "A workspace without resources",
    "icon": "",
    "tags": [],
    "markdown": "",
}


async def _check(request: web.Request) -> None:
    statement = "SELECT id FROM template_versions WHERE id = $1"
    if await services_of(request).db.value(statement, path_uuid(request, "templateversion")) is None:
        raise not_found()


async def empty(request: web.Request) -> web.Response:
    """List parameters, presets, variables, resources or external logins: none."""
    await _check(request)
    return answer([])


def _form(number: int) -> dict[str, Any]:
    return {"id": number, "diagnostics": [], "parameters": []}


async def dynamic_parameters(request: web.Request) -> web.StreamResponse:
    """Render the form at once, as number -1, and again for every ``{"id", "inputs"}`` of the client."""
    await _check(request)

    async def pump(send: Send) -> Close | None:
        await send(_form(-1))
        return None

    async def render(socket: web.WebSocketResponse, message: WSMessage) -> None:
        try:
            number = json.loads(message.data)["id"]
        except (ValueError, TypeError, KeyError):
            number = 0
        await socket.send_str(json.dumps(_form(number), separators=(",", ":")))

    return await services_of(request).sockets.serve(request, Feed(pump, _DONE), render)


async def examples(_request: web.Request) -> web.Response:
    """List the starter templates: one, that makes nothing."""
    return answer([_EXAMPLE])


ROUTES = (
    *(
        Route("GET", f"/templateversions/{{templateversion}}/{part}", empty)
        for part in ("rich-parameters", "presets", "variables", "resources", "external-auth", "schema", "parameters")
    ),
    Route("GET", "/templateversions/{templateversion}/dynamic-parameters", dynamic_parameters),
    Route("GET", "/templates/examples", examples, Access.OWNER),
)
