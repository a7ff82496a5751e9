from __future__ import annotations

import asyncio
import random
from time import monotonic_ns

from harness.probes.wheel import Wheel

MS = 1_000_000


class Sleeper:
    def __init__(self, act=None):
        self.slot = 0
        self.woken: list[int] = []
        self.act = act

    def wake(self, now):
        self.woken.append(now)
        if self.act is not None:
            self.act()


def turning(body):
    async def run():
        await body(Wheel(asyncio.get_running_loop()))

    asyncio.run(run())


async def until(condition):
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110  # the wheel tells nobody
            await asyncio.sleep(0.001)


def test_each_is_woken_once_and_never_early():
    async def body(wheel):
        sleepers = [(Sleeper(), random.randrange(1, 60)) for _ in range(300)]
        start = monotonic_ns()
        for sleeper, ms in sleepers:
            wheel.set(sleeper, start + ms * MS)
        await until(lambda: all(sleeper.woken for sleeper, _ in sleepers))
        await asyncio.sleep(0.02)
        for sleeper, ms in sleepers:
            (woken,) = sleeper.woken
            assert woken >= start + ms * MS
            assert sleeper.slot == 0

    turning(body)


def test_only_the_last_moment_counts():
    async def body(wheel):
        now = monotonic_ns()
        moved, cleared, earlier, end = Sleeper(), Sleeper(), Sleeper(), Sleeper()
        for sleeper in (moved, cleared):
            wheel.set(sleeper, now + 5 * MS)
        wheel.set(earlier, now + 60_000 * MS)
        wheel.set(moved, now + 30 * MS)
        wheel.clear(cleared)
        wheel.set(earlier, now + 10 * MS)
        wheel.set(end, now + 50 * MS)
        await until(lambda: end.woken)
        assert [len(s.woken) for s in (moved, cleared, earlier)] == [1, 0, 1]
        assert moved.woken[0] >= now + 30 * MS

    turning(body)


def test_who_is_moved_by_another_ones_waking_in_the_same_moment_is_not_woken_then():
    async def body(wheel):
        due = monotonic_ns() + 5 * MS
        second, third = Sleeper(), Sleeper()

        def meddle():
            wheel.set(second, due + 20 * MS)
            wheel.clear(third)

        first = Sleeper(meddle)
        for sleeper in (first, second, third):
            wheel.set(sleeper, due)
        await until(lambda: second.woken)
        assert (len(first.woken), len(second.woken), third.woken) == (1, 1, [])
        assert second.woken[0] >= due + 20 * MS

    turning(body)


def test_who_sets_itself_again_goes_on():
    async def body(wheel):
        again = Sleeper(lambda: wheel.set(again, monotonic_ns() + 3 * MS))
        wheel.set(again, monotonic_ns())
        await until(lambda: len(again.woken) >= 5)
        wheel.clear(again)

    turning(body)
