from __future__ import annotations

import asyncio
import sys
import threading
import time
from typing import TYPE_CHECKING, TypeVar

import anyio
import anyio.to_thread
import pytest

from harness.virtualtime import VirtualLoop

if TYPE_CHECKING:
    from collections.abc import Coroutine

T = TypeVar("T")


def virtually(main: Coroutine[object, object, T]) -> T:
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)


def test_a_day_of_sleeps_takes_no_time() -> None:
    async def main() -> float:
        began = asyncio.get_running_loop().time()
        for _ in range(50):
            await asyncio.sleep(600)
        return asyncio.get_running_loop().time() - began

    began = time.monotonic()
    assert virtually(main()) == pytest.approx(30_000)
    assert time.monotonic() - began < 1.0


def test_two_runs_have_the_same_order() -> None:
    async def main() -> list[tuple[float, int]]:
        order: list[tuple[float, int]] = []

        async def worker(number: int) -> None:
            for step in range(20):
                await asyncio.sleep((number * 7 + step * 3) % 5 / 10)
                order.append((asyncio.get_running_loop().time(), number))

        async with asyncio.TaskGroup() as tasks:
            for number in range(8):
                tasks.create_task(worker(number))
        return order

    first = virtually(main())
    assert first == virtually(main())
    assert [moment for moment, _ in first] == sorted(moment for moment, _ in first)


def test_anyio_sleeps_and_deadlines_follow_it() -> None:
    async def main() -> tuple[bool, float]:
        began = anyio.current_time()
        with anyio.move_on_after(3600) as scope:
            await anyio.sleep(7200)
        return scope.cancelled_caught, anyio.current_time() - began

    caught, took = virtually(main())
    assert caught
    assert took == pytest.approx(3600)


@pytest.mark.parametrize("call", [asyncio.to_thread, anyio.to_thread.run_sync], ids=["asyncio", "anyio"])
def test_a_thread_is_not_outrun(call: object) -> None:
    async def main() -> str:
        with anyio.move_on_after(5):
            return await call(lambda: time.sleep(0.15) or "done")  # type: ignore[operator]
        return "outrun"

    assert virtually(main()) == "done"


def test_a_socket_is_not_outrun() -> None:
    async def slow(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.05)
        writer.write(b"late\n")
        await writer.drain()
        writer.close()

    async def main() -> bytes:
        server = await asyncio.start_server(slow, "127.0.0.1", 0)
        async with server:
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname()[:2])
            async with asyncio.timeout(10):
                line = await reader.readline()
            writer.close()
            await writer.wait_closed()
        return line

    assert virtually(main()) == b"late\n"


def test_a_child_process_is_not_outrun() -> None:
    async def main() -> int:
        child = await asyncio.create_subprocess_exec(sys.executable, "-c", "import time; time.sleep(0.2)")
        async with asyncio.timeout(30):
            return await child.wait()

    assert virtually(main()) == 0


def test_time_jumps_again_once_the_thread_is_done() -> None:
    async def main() -> None:
        await asyncio.to_thread(time.sleep, 0.01)
        await asyncio.sleep(100_000)

    began = time.monotonic()
    virtually(main())
    assert time.monotonic() - began < 2


def test_tasks_that_wait_for_each_other_are_an_error_and_no_hang(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.virtualtime._PATIENCE_S", 0.05)

    async def main() -> None:
        await asyncio.Event().wait()

    with pytest.raises(RuntimeError, match="every task waits"):
        virtually(main())


def test_a_foreign_thread_may_still_wake_the_loop() -> None:
    async def main() -> str:
        loop, woken = asyncio.get_running_loop(), asyncio.Event()
        threading.Timer(0.05, lambda: loop.call_soon_threadsafe(woken.set)).start()
        await woken.wait()
        return "woken"

    assert virtually(main()) == "woken"
