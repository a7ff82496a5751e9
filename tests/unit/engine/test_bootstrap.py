"""Licences and entitlements: what a deployment is asked, and what follows from its answers."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from harness import bootstrap
from harness.errors import NotReady, StackError
from harness.stack import CALL_S, Answer, NoAnswer


class Says:
    """An API that always gives the same answer, None for no answer at all."""

    def __init__(self, answer: Answer | None) -> None:
        self.answer = answer
        self.asked: list[Any] = []

    async def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        token: str | None = None,
        timeout_s: float = CALL_S,  # noqa: ARG002
    ) -> Answer:
        self.asked.append((method, path, body, token))
        if self.answer is None:
            raise NoAnswer("refused")
        return self.answer


def test_a_licence_is_uploaded_as_an_admin_does() -> None:
    api = Says(Answer(201, {"id": 1}))
    asyncio.run(bootstrap.add_licence(api, "t", "a.b.c\n"))
    assert api.asked == [("POST", "/licenses", {"license": "a.b.c"}, "t")]


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (Answer(400, {"message": "Invalid license"}), "the licence was refused with 400: Invalid license"),
        (Answer(404, "Route not found."), "refused with 404: Route not found.; this build may take none"),
    ],
)
def test_a_refused_licence_is_one_line(answer: Answer, said: str) -> None:
    with pytest.raises(NotReady) as caught:
        asyncio.run(bootstrap.add_licence(Says(answer), "t", "x"))
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_no_answer_is_the_stacks_fault() -> None:
    with pytest.raises(StackError, match="bootstrap: refused"):
        asyncio.run(bootstrap.add_licence(Says(None), "t", "x"))


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (Answer(200, {"features": {"high_availability": {"entitlement": "entitled", "enabled": True}}}), ""),
        (Answer(200, {"features": {}, "errors": ["two replicas"]}), "high_availability is unknown; two replicas"),
        (
            Answer(200, {"features": {"high_availability": {"entitlement": "not_entitled", "enabled": False}}}),
            "high_availability is not_entitled",
        ),
        (Answer(404, "no such route"), "/entitlements answers 404: no enterprise build"),
        (None, "entitlements could not be read: refused"),
    ],
)
def test_why_replicas_do_not_mesh(answer: Answer | None, said: str) -> None:
    assert asyncio.run(bootstrap.lacks_high_availability(Says(answer), "t")) == said
