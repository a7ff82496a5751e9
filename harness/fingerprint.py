"""Fingerprint: whether a stack after a run is as it was before, so that another run may have it. One line says why not.

Whatever is not known to be clean is not: a fresh stack costs seconds, a finding about a spoiled one costs its credit.
"""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any

import anyio

from harness import events as ev
from harness.stack import NoAnswer, StackRequest
from harness.tidy import schema
from harness.verdict import Status

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

    from harness.stack import Look, Stack
    from harness.timeline import RunView
    from harness.verdict import Verdict

_SERVES_S = 10.0
_MEMBERS_S = 20.0
"""Server seconds. A peer is gone when its row is 15 s old (enterprise/replicasync)."""
_ROUNDS = 4
_WORDS = {
    "replicas": "replicas",
    "time_scale": "time scale",
    "balancer": "balancer profile",
    "coder": "coder binary",
    "server_env": "environment of the server",
    "ports": "ports",
}


def differs(running: StackRequest, needed: StackRequest) -> str | None:
    """Say in what the stack that is needed differs from the running one; None when they are alike."""
    for field in fields(StackRequest):
        have, want = getattr(running, field.name), getattr(needed, field.name)
        if have != want:
            word = _WORDS.get(field.name, field.name)
            return f"the next run needs {word} {_shown(want)}, the running stack has {_shown(have)}"
    return None


def of_run(run: RunView, verdict: Verdict) -> str | None:
    """Say what in a run's journal and verdict spoils its stack; None when nothing does."""
    if verdict.status not in (Status.PASS, Status.INCONCLUSIVE):
        return f"the run before is {verdict.status}: {verdict.why}"
    broken = run.last(ev.Broken) or run.last(ev.BaselineBroken)
    if verdict.dirty or broken:
        return f"the run before is {verdict.status}: {verdict.why}"
    for fault in run.faults:
        name = f"{fault.prepared.fault} {fault.prepared.name} on {', '.join(fault.prepared.targets)}"
        if fault.undone is None or not all(outcome["ok"] for outcome in fault.undone.outcomes):
            return f"{name} is still open in the journal of the run before"
        if fault.healed is None:
            return f"{name} was not proven healed"
    recovered = run.last(ev.Recovered)
    if recovered is None or not recovered.stable:
        return f"service was not stable again: {recovered.seen if recovered else 'the run ended first'}"
    return None


def restarted(run: RunView) -> frozenset[str]:
    """Targets whose process may be another one than before: those of faults that were proven healed."""
    return frozenset(name for fault in run.faults if fault.healed for name in fault.prepared.targets)


def of_processes(before: Look, after: Look, excused: AbstractSet[str] = frozenset()) -> str | None:
    """Say what is not as it was; None when all is. `excused` may have another process than before, but a running one."""
    if set(before.processes) != set(after.processes):
        return (
            f"its processes are {', '.join(sorted(after.processes))}, no longer {', '.join(sorted(before.processes))}"
        )
    for name, process in after.processes.items():
        if after.states[name] != "running":
            return f"{name} is {after.states[name]}"
        if process != before.processes[name] and name not in excused:
            return f"{name} is {process} and was {before.processes[name]}: nobody is known to have started it again"
    return after.held[0] if after.held else None


async def of_service(stack: Stack, token: str) -> str | None:
    """Say what does not serve as on a fresh stack; None when all does.

    Every replica answers from the database, the balancer sends to each of them, each is a member once and nobody else,
    the schema is clean. What comes late is waited for.
    """
    coders = [target.name for target in stack.targets if target.role == "coder"]
    seen = "nothing"
    with anyio.move_on_after(_SERVES_S):
        for name in coders:
            while seen := await _answers(stack, name, token):  # noqa: ASYNC110 - a server sends us no event
                await anyio.sleep(0.05)
        missing = {stack.upstream(name) for name in coders}
        while missing:
            seen = f"the balancer does not send to {len(missing)} of {len(coders)} replicas"
            for _ in range(_ROUNDS * len(coders)):
                missing.discard(await _upstream(stack))
            await anyio.sleep(0.05)
        seen = ""
    return seen or await _members(stack, token, coders) or await schema(stack)


async def _answers(stack: Stack, name: str, token: str) -> str:
    try:
        answer = await stack.api(name).call("GET", "/users/me", token=token)
    except NoAnswer as error:
        return f"{name} does not answer: {error}"
    return "" if answer.ok else f"{name} answered {answer.status} to GET /users/me"


async def _upstream(stack: Stack) -> int:
    try:
        answer = await stack.api("balancer").call("GET", "/buildinfo")
    except NoAnswer:
        return 0
    return answer.upstream if answer.ok else 0


async def _members(stack: Stack, token: str, coders: list[str]) -> str | None:
    """Wait until those who died are forgotten; a deployment that tells nobody its members is not held to it."""
    seen: list[Any] = []
    with anyio.move_on_after(_MEMBERS_S * stack.time_scale + 1.0):
        for name in coders:
            while True:
                try:
                    answer = await stack.api(name).call("GET", "/replicas", token=token)
                except NoAnswer as error:
                    return f"{name} does not answer: {error}"
                if not answer.ok or not isinstance(answer.body, list):
                    return None
                seen = sorted(stack.hostnames.get(str(row["hostname"]), str(row["hostname"])) for row in answer.body)
                if len(seen) == len(coders):
                    break
                await anyio.sleep(0.1)
        return None
    return f"its members are {', '.join(seen)}: {len(seen)}, not {len(coders)}"


def _shown(value: Any) -> str:
    if isinstance(value, range):
        return f"{value.start}-{value.stop - 1}"
    if isinstance(value, dict):
        return " ".join(f"{key}={text}" for key, text in sorted(value.items())) or "none"
    return str(getattr(value, "name", value) if value is not None else "the stand-in")
