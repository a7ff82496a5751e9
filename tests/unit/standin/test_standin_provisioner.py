"""A replica that leaves finishes every job that is its own, also one that it was given while it was leaving."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
from standin import provisioner_sql as sql
from standin.provisioner import Provisioner

JOB = {"id": uuid4(), "type": "template_version_import", "transition": None}


class Queue:
    """A database with one job, which it gives away `late_s` before the answer arrives."""

    def __init__(self, late_s: float) -> None:
        self.late_s = late_s
        self.asked = asyncio.Event()
        self.given = self.ended = 0

    async def rows(self, *_: object) -> list[Any]:
        return []

    async def row(self, statement: str, *_: object) -> Any:
        if statement == sql.ACQUIRE:
            if self.given:
                return None
            self.given = 1
            self.asked.set()
            await asyncio.sleep(self.late_s)
            return JOB
        if statement == sql.FINISH:
            self.ended += 1
        return {"id": JOB["id"], "canceled": False}


@pytest.mark.parametrize("late_s", [0.0, 0.05])
def test_a_job_that_is_given_while_it_leaves_is_finished(late_s: float) -> None:
    async def body() -> Queue:
        queue = Queue(late_s)
        provisioner = Provisioner(*parts(queue), replica=uuid4(), metrics=metrics())  # type: ignore[arg-type]
        await provisioner.start()
        await queue.asked.wait()
        await provisioner.stop(interrupt=False)
        return queue

    queue = asyncio.run(body())
    assert (queue.given, queue.ended) == (1, 1)


def test_without_daemons_there_is_nothing_to_wait_for() -> None:
    async def body() -> None:
        provisioner = Provisioner(*parts(Queue(0), daemons=0), replica=uuid4(), metrics=metrics())  # type: ignore[arg-type]
        await provisioner.start()
        await provisioner.stop(interrupt=False)

    asyncio.run(body())


def parts(queue: Queue, daemons: int = 1) -> tuple[Any, ...]:
    async def subscribe(*_: object) -> None:
        """Nobody calls."""

    settings = SimpleNamespace(version="v2", bugs=frozenset(), hostname="coder-1", daemons=daemons)
    clock = SimpleNamespace(server=lambda seconds: seconds / 100)
    pubsub = SimpleNamespace(subscribe=subscribe, on_reconnect=lambda _: None)
    return settings, clock, queue, pubsub


def metrics() -> Any:
    follow = lambda *_, **__: None  # noqa: E731
    timings = SimpleNamespace(labels=lambda *_: SimpleNamespace(observe=lambda _: None))
    return SimpleNamespace(follow=follow, job_timings=timings)
