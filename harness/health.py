"""The health report: each replica is asked for a fresh one, and what it says of its database becomes an event.

What could not be had is an event too: it proves nothing, and the objective says so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio

from harness.events import Event, HealthReport
from harness.stack import NoAnswer
from harness.timings import Env, report_answer, resolve

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from harness.stack import Api, Stack

ANSWER_S = resolve(report_answer, Env())
_PATH = "/debug/health?force=true"


async def ask(
    stack: Stack, token: str, names: Iterable[str], emit: Callable[[Event], object], clock_ns: Callable[[], int]
) -> list[str]:
    """Ask the named replicas at once, each at its own address with an owner's token: a report is its replica's own.

    Gives the names of those that warned that their database is far.
    """
    warned: list[str] = []

    async def one(name: str) -> None:
        began = clock_ns()
        said = await _report(stack.api(name), token)
        report = HealthReport(target=name, since_ns=began, **said)
        emit(report)
        if report.FAR in report.codes:
            warned.append(name)

    async with anyio.create_task_group() as tasks:
        for name in names:
            tasks.start_soon(one, name)
    return sorted(warned)


async def _report(api: Api, token: str) -> dict[str, Any]:
    try:
        answer = await api.call("GET", _PATH, token=token, timeout_s=ANSWER_S)
    except NoAnswer as error:
        return {"why": str(error)}
    if answer.status != 200:
        return {"why": f"GET {_PATH} answered {answer.status}"}
    section = answer.body.get("database") if isinstance(answer.body, dict) else None
    if not isinstance(section, dict):
        return {"why": "the health report has no section about the database"}
    # The order of the codes is the report's own; what is no figure is left out, as other versions may write it otherwise.
    said = [*(section.get("warnings") or []), *([section["error"]] if section.get("error") else [])]
    return {
        "codes": [_code(item) for item in said],
        "latency_ms": _figure(section.get("latency_ms")),
        "threshold_ms": _figure(section.get("threshold_ms")),
    }


def _code(item: Any) -> str:
    """Code of a warning: of an object with `code`, or the word before the colon of a text."""
    return str(item.get("code", "?")) if isinstance(item, dict) else str(item).partition(":")[0].strip()


def _figure(value: Any) -> int | None:
    return int(value) if isinstance(value, int | float) else None
