"""An event loop whose clock is virtual: when nothing is ready and a timer is next, time jumps to it.

```
with asyncio.Runner(loop_factory=VirtualLoop) as runner:
    runner.run(main())      # an hour of sleeps takes milliseconds, always in the same order
```
It never jumps while something real is under way (a socket or pipe we watch, a child process, a worker thread): then
virtual time passes as real time does, so no timer outruns the real thing.
"""

from __future__ import annotations

import asyncio
import selectors
from time import monotonic
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from anyio import to_thread

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from anyio import CapacityLimiter

_START_S = 1000.0
"""Not 0, which stands for "never" in records."""
_SELF_PIPE = 1
_PATIENCE_S = 2.0
"""How long to wait, in real time, for a thread nobody told us about, before a loop without any timer is called stuck."""


class _Jumper(selectors.BaseSelector):
    """Stands between the loop and the real selector, and moves the loop's clock instead of waiting."""

    def __init__(self) -> None:
        self.now = _START_S
        self.busy: Callable[[], bool] = lambda: False
        self._real = selectors.DefaultSelector()

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = self._real.select(0)
        if ready or timeout == 0:
            return ready
        if len(self._real.get_map()) > _SELF_PIPE or self.busy():
            began = monotonic()
            ready = self._real.select(timeout)
            passed = monotonic() - began
            self.now += passed if timeout is None or ready else max(passed, timeout)
            return ready
        if timeout is None:
            ready = self._real.select(_PATIENCE_S)
            if not ready:
                raise RuntimeError("every task waits for another one: no timer, no I/O and no thread is left to end it")
            return ready
        self.now += timeout
        return []

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._real.register(fileobj, events, data)

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._real.unregister(fileobj)

    def modify(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._real.modify(fileobj, events, data)

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._real.get_map()

    def close(self) -> None:
        self._real.close()


class VirtualLoop(asyncio.SelectorEventLoop):
    """Give it as `loop_factory`. `time()` begins at 1000 s; asyncio's and anyio's sleeps and timeouts follow it."""

    def __init__(self) -> None:
        self._jumper = _Jumper()
        self._calls: set[asyncio.Future[Any]] = set()
        self._children: WeakSet[asyncio.SubprocessTransport] = WeakSet()
        self._limiter: CapacityLimiter | None = None
        super().__init__(self._jumper)
        self._jumper.busy = self._busy

    def time(self) -> float:
        """Virtual seconds."""
        return self._jumper.now

    def run_in_executor(self, executor: Any, func: Any, *args: Any) -> asyncio.Future[Any]:  # type: ignore[override]
        """As asyncio's, and remembered until it is done."""
        future = super().run_in_executor(executor, func, *args)
        self._calls.add(future)
        future.add_done_callback(self._calls.discard)
        return future

    async def _make_subprocess_transport(self, *args: Any, **options: Any) -> asyncio.SubprocessTransport:
        child: asyncio.SubprocessTransport = await super()._make_subprocess_transport(*args, **options)  # type: ignore[misc]
        self._children.add(child)
        return child

    def _busy(self) -> bool:
        if self._calls or (len(self._children) and any(child.get_returncode() is None for child in self._children)):
            return True
        # anyio has worker threads of its own; each holds a token of this loop's limiter while it works.
        if self._limiter is None:
            self._limiter = to_thread.current_default_thread_limiter()
        return self._limiter.borrowed_tokens > 0
