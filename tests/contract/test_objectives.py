from __future__ import annotations

import json
import shutil
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any

import pytest
from fake_runs import play

from harness import discover, eventlog
from harness.errors import RunDirError
from harness.objectives.base import Limit, Objective, from_json, limit, to_json
from harness.timeline import RunView
from harness.timings import Env, N, ejection, server
from harness.verdict import Finding, Status

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from fake_runs import Played

OBJECTIVES = sorted(discover.objectives().items())
EACH = pytest.mark.parametrize("cls", [cls for _, cls in OBJECTIVES], ids=[name for name, _ in OBJECTIVES])
ARGUMENTS: dict[str, Any] = {"of": "stable", "population": "watch.eager"}


def made(cls: Any, bound: Any = 1.5) -> Any:
    """An instance: limits are `bound`, words are the usual ones, the rest has defaults."""
    given = {}
    for field in fields(cls):
        if field.name in ARGUMENTS:
            given[field.name] = ARGUMENTS[field.name]
        elif "Bound" in str(field.type):
            given[field.name] = bound
    return cls(**given)


@EACH
def test_it_is_a_frozen_dataclass_with_a_name(cls: Any) -> None:
    assert is_dataclass(cls)
    assert cls.__dataclass_params__.frozen
    assert cls.name
    assert cls.name == cls.name.lower()
    assert (cls.__doc__ or "").strip()
    assert not cls.__doc__.startswith(f"{cls.__name__}(")
    assert isinstance(made(cls), Objective)


def test_names_are_unique() -> None:
    names = [cls.name for _, cls in OBJECTIVES]
    assert len(set(names)) == len(names)


@EACH
@pytest.mark.parametrize("bound", [1.5, server(10), ejection / N + 0.5], ids=["number", "server", "formula"])
def test_it_survives_storage_with_its_limits_resolved(cls: Any, bound: Any) -> None:
    env = Env(scale=0.2, replicas=5)
    stored = json.loads(json.dumps(to_json(made(cls, bound), env)))
    again = from_json(stored)
    assert type(again) is cls
    assert json.loads(json.dumps(stored)) == stored
    for field in fields(cls):
        if "Bound" in str(field.type) and not isinstance(bound, float):
            resolved = getattr(again, field.name)
            assert isinstance(resolved, Limit)
            assert resolved.value == pytest.approx(bound.of(env))
            assert limit(resolved) is resolved


def test_a_limit_that_is_a_number_is_kept_as_it_is() -> None:
    assert str(limit(1.5)) == "1.5"
    assert str(Limit(2.1667, "ejection/N + 0.5 s")) == "2.167 (ejection/N + 0.5 s)"


def test_an_objective_of_another_version_is_refused_by_name() -> None:
    with pytest.raises(RunDirError, match="NoSuchThing"):
        from_json({"objective": "NoSuchThing", "name": "x", "params": {}})


def test_each_gives_a_finding_for_every_prefix_of_a_run(tmp_path: Path) -> None:
    """A run may end at any moment; an objective then has no opinion, or a sound one, and never raises."""
    run = play(tmp_path / "run", "replica-kill", time_scale=0.1, baseline=2, calm=3, watchers=6)
    log = run.directory / eventlog.FILE
    lines = log.read_bytes().splitlines(keepends=True)
    kinds = [json.loads(line)["kind"] for line in lines]
    for count in range(1, len(lines) + 1):
        log.write_bytes(b"".join(lines[:count]))
        view = RunView(run.directory)
        for _, cls in OBJECTIVES:
            finding = made(cls).judge(view)
            assert isinstance(finding, Finding)
            if "fault.injected" not in kinds[:count]:
                assert finding.status is Status.INCONCLUSIVE, (count, finding)


@EACH
def test_without_any_record_it_never_passes(cls: Any, played: Callable[..., Played], tmp_path: Path) -> None:
    directory = tmp_path / "run"
    directory.mkdir()
    shutil.copy(played("replica-kill").directory / eventlog.FILE, directory / eventlog.FILE)
    finding = made(cls).judge(RunView(directory))
    if cls.name not in ("membership-drops", "exits", "schema-clean"):  # they are judged by events alone
        assert finding.status is not Status.PASS, finding
