"""Toxiproxy's admin API through toxiproxy-python, tamed.

As published the package keeps host and port in class attributes (one server per process), has no timeouts, takes a 503
for success and never reads back what it changed. Here each `Toxiproxy` has its own server, every call a timeout, every
non-2xx raises, every change is read back, and nothing blocks the event loop.
"""

from __future__ import annotations

from types import FunctionType
from typing import TYPE_CHECKING, Any

import anyio.to_thread
import requests
from toxiproxy import proxy as _proxy
from toxiproxy import server as _server
from toxiproxy.api import APIConsumer
from toxiproxy.exceptions import InvalidToxic, NotFound, ProxyExists

from harness.errors import HarnessError

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.stack import Address

TIMEOUT_S = 5.0
_FOREIGN = (requests.RequestException, ProxyExists, NotFound, InvalidToxic, ValueError, KeyError)


class Toxiproxy:
    """One Toxiproxy server. All methods raise HarnessError with what was asked and what it said."""

    def __init__(self, address: Address) -> None:
        """Bind the package's classes to this server alone."""

        class Consumer(_Consumer):
            host = address.host
            port = address.port

        bound = _bind(_proxy.Proxy, {"APIConsumer": Consumer})
        self._server = _bind(_server.Toxiproxy, {"APIConsumer": Consumer, "Proxy": bound})()
        self._where = address.url

    async def create(self, name: str, listen: Address, upstream: Address) -> None:
        """Create a proxy and read it back."""
        want = (f"{listen.host}:{listen.port}", f"{upstream.host}:{upstream.port}")

        def work() -> None:
            self._server.create(upstream=want[1], name=name, listen=want[0], enabled=True)
            made = self._server.get_proxy(name)
            if made is None or (made.listen, made.upstream, made.enabled) != (*want, True):
                raise HarnessError(f"toxiproxy at {self._where}: proxy {name} is not as asked: {made and vars(made)}")

        await self._do(f"create proxy {name}", work)

    async def add_latency(self, proxy: str, toxic: str, stream: str, ms: int) -> None:
        """Delay what `proxy` carries in one direction ("upstream" or "downstream"), and read it back."""

        def work() -> None:
            self._server.get_proxy(proxy).add_toxic(
                name=toxic, type="latency", stream=stream, toxicity=1.0, attributes={"latency": ms, "jitter": 0}
            )
            if _latencies(self._server.get_proxy(proxy)).get(toxic) != ms:
                raise HarnessError(f"toxiproxy at {self._where}: toxic {toxic} of {proxy} is not as asked")

        await self._do(f"add toxic {toxic} to {proxy}", work)

    async def latencies(self, proxy: str) -> dict[str, int]:
        """Milliseconds of every latency toxic of a proxy, by name."""
        found: dict[str, int] = await self._do(f"read {proxy}", lambda: _latencies(self._server.get_proxy(proxy)))
        return found

    async def toxics(self, proxy: str) -> list[str]:
        """Names of all toxics of a proxy, of whatever type; raises HarnessError too when the proxy is switched off."""

        def work() -> list[str]:
            found = self._server.get_proxy(proxy)
            if not found.enabled:
                raise HarnessError(f"toxiproxy at {self._where}: proxy {proxy} is switched off")
            return sorted(toxic.name for toxic in found.toxics().values())

        names: list[str] = await self._do(f"read {proxy}", work)
        return names

    async def _do(self, what: str, work: Callable[[], Any]) -> Any:
        try:
            with anyio.fail_after(TIMEOUT_S * 3):
                return await anyio.to_thread.run_sync(work, abandon_on_cancel=True)
        except _FOREIGN as error:
            raise HarnessError(f"toxiproxy at {self._where}: {what}: {type(error).__name__}: {error}") from error
        except TimeoutError as error:
            raise HarnessError(f"toxiproxy at {self._where}: {what}: no answer in {TIMEOUT_S * 3:g} s") from error


class _Consumer(APIConsumer):  # type: ignore[misc]
    """The package's consumer with timeouts, and with every non-2xx raised."""

    @classmethod
    def get(cls, url: str, params: Any = None, **kwargs: Any) -> requests.Response:
        return _checked(super().get(url, params=params, timeout=TIMEOUT_S, **kwargs))

    @classmethod
    def delete(cls, url: str, **kwargs: Any) -> requests.Response:
        return _checked(super().delete(url, timeout=TIMEOUT_S, **kwargs))

    @classmethod
    def post(cls, url: str, data: Any = None, json: Any = None, **kwargs: Any) -> requests.Response:
        return _checked(super().post(url, data=data, json=json, timeout=TIMEOUT_S, **kwargs))


def _latencies(proxy: Any) -> dict[str, int]:
    return {t.name: int(t.attributes["latency"]) for t in proxy.toxics().values() if t.type == "latency"}


def _checked(response: requests.Response) -> requests.Response:
    response.raise_for_status()
    return response


def _bind(cls: type, names: dict[str, Any]) -> type:
    """Copy a class of the package so that its methods see `names` instead of the module's globals."""
    own: dict[str, Any] = {}
    for name, member in vars(cls).items():
        if isinstance(member, FunctionType):
            inner = FunctionType(
                member.__code__, {**member.__globals__, **names}, name, member.__defaults__, member.__closure__
            )
            inner.__kwdefaults__ = member.__kwdefaults__
            own[name] = inner
    return type(cls.__name__, (cls,), own)
