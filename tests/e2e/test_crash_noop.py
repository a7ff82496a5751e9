"""A fault whose injector does nothing proves nothing, whichever it is: no receipt, no credit."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import crash_lab as lab
import pytest
from crash_lab import Case, Result

from harness.discover import faults, scenarios
from harness.faults.base import name_of
from harness.plan import dry_run
from harness.timings import Env

if TYPE_CHECKING:
    from collections.abc import Iterator
    from concurrent.futures import Future

pytestmark = pytest.mark.e2e


def using(fault: str) -> str:
    """A shipped scenario that injects this fault."""
    for name, scenario in scenarios().items():
        steps = asyncio.run(dry_run(scenario, seed=1, env=Env(scale=0.1, replicas=3), hold_s=None))
        if any(step.get("name") == fault for step in steps):
            return name
    raise AssertionError(f"no shipped scenario injects {fault}: nothing shows that it needs a proof")


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Future[Result]]]:
    base = tmp_path_factory.mktemp("noop")
    cases = {
        name: Case(
            f"noop-{name}",
            # Counted as an act: a run that never came to its injection is played again.
            [{"kind": "fault.injected", "do": []}],
            scenario=using(name_of(fault)),
            settings={"replicas": "3", "prove": "2s"},
            orders={"noop": name},
        )
        for name, fault in faults().items()
    }
    with lab.played(list(cases.values()), base) as results:
        yield {name: results[case.name] for name, case in cases.items()}


@pytest.mark.parametrize("fault", faults())
def test_without_an_injection_nothing_is_proven(results: dict[str, Future[Result]], fault: str) -> None:
    result = results[fault].result()
    assert len(result.acted) == 1, result.told()
    assert result.code == 3, result.told()
    assert result.left == []
    assert result.out.startswith("INCONCLUSIVE")
    code, verdict = result.judged()
    assert code == 3
    assert f"f1 {name_of(faults()[fault])} on" in verdict["why"]
    assert "not proven" in verdict["why"]
    kinds = result.kinds
    assert kinds.index("fault.unproven") < kinds.index("fault.undone"), "what was not proven is undone all the same"
