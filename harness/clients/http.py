"""Coder's API over httpx. The only importer of httpx.

No retry, ever: a hidden one would turn a lost write into two. Foreign exceptions become `NoAnswer` here.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import TYPE_CHECKING, Any

import httpx

from harness.stack import CALL_S, Answer, NoAnswer
from harness.upstreams import Upstreams

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from harness.stack import Address

_CONNECT_S = 3.0
_TIMEOUT = httpx.Timeout(CALL_S, connect=_CONNECT_S)


class HttpApi:
    """One address. A connection per request, so that no answer depends on a kept connection's fate."""

    def __init__(
        self, address: Address, client: httpx.AsyncClient, upstream_ports: Mapping[str, int] | None = None
    ) -> None:
        """Bind an address to a client that others may share; `upstream_ports` as `Upstreams` takes them."""
        self._base = f"{address.url}/api/v2"
        self._client = client
        self._upstreams = Upstreams(ports=upstream_ports)

    async def call(
        self, method: str, path: str, body: Any = None, *, token: str | None = None, timeout_s: float = CALL_S
    ) -> Answer:
        """Send one request; see `harness.stack.Api`."""
        headers = {"Coder-Session-Token": token} if token else {}
        sent: dict[str, Any] = (
            {"content": body} if isinstance(body, bytes) else {"json": body} if body is not None else {}
        )
        if isinstance(body, bytes):
            headers["Content-Type"] = "application/x-tar"
        try:
            timeout = httpx.Timeout(timeout_s, connect=_CONNECT_S)
            response = await self._client.request(method, self._base + path, headers=headers, timeout=timeout, **sent)
        except httpx.HTTPError as error:
            raise NoAnswer(f"{method} {path}: {type(error).__name__}: {error}") from error
        upstream = self._upstreams.port(response.headers.get(self._upstreams.header, ""))
        return Answer(response.status_code, _body(response), upstream)


@asynccontextmanager
async def http_client() -> AsyncIterator[httpx.AsyncClient]:
    """Open a client that ignores the caller's proxies and environment and keeps neither connections nor cookies.

    With the cookie of a login, a write under another user's token is refused as forged (coderd/httpmw/csrf.go).
    """
    limits = httpx.Limits(max_keepalive_connections=0)
    no_cookies = CookieJar(DefaultCookiePolicy(allowed_domains=[]))
    async with httpx.AsyncClient(timeout=_TIMEOUT, limits=limits, trust_env=False, cookies=no_cookies) as client:
        yield client


def _body(response: httpx.Response) -> Any:
    if response.headers.get("content-type", "").startswith("application/json"):
        try:
            return response.json()
        except ValueError:
            return response.text
    return response.text
