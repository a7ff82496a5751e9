"""`show NAME`: one scenario, fault, objective or stack in full, from what its own file says."""

from __future__ import annotations

import asyncio
import inspect
import re
from dataclasses import MISSING, fields, replace
from importlib import import_module
from pkgutil import iter_modules
from typing import TYPE_CHECKING, Any

from harness import backends, discover
from harness.errors import UsageError
from harness.faults.base import fits, name_of, takes_down
from harness.plan import dry_run, paper_targets, render_plan

if TYPE_CHECKING:
    from harness.api import Red, Scenario
    from harness.timings import Env


def stacks() -> list[str]:
    """Names of the backends there are."""
    return sorted(info.name for info in iter_modules(backends.__path__))


def show(name: str, env: Env) -> str:
    """Text about the thing of that name, formulas resolved against `env`; UsageError with the nearest known name."""
    known: dict[str, Any] = {
        **{stack: lambda stack=stack: _stack(stack) for stack in stacks()},
        **{cls.name: lambda cls=cls: _objective(cls) for cls in discover.objectives().values()},  # type: ignore[attr-defined]
        **{name_of(cls): lambda cls=cls: _fault(cls) for cls in discover.faults().values()},
        **{key: lambda value=value: _scenario(value, env) for key, value in discover.scenarios().items()},
    }
    if name not in known:
        raise UsageError(f"nothing is named {name!r}{discover.nearest(name, known)}; see `coder-chaos list`")
    text: str = known[name]()
    return text


def _scenario(scenario: Scenario, env: Env) -> str:
    env = replace(env, replicas=max(env.replicas, scenario.replicas))
    steps = asyncio.run(dry_run(scenario, seed=0, env=env, hold_s=None))
    needs = {cls.needs.__name__ for cls in discover.faults().values() if name_of(cls) in {s.get("name") for s in steps}}  # type: ignore[attr-defined]
    lines = [
        f"scenario {scenario.name}   tags {', '.join(sorted(scenario.tags))}   load {scenario.load}",
        f"needs    {', '.join(sorted(needs))}; {scenario.replicas} replicas or more",
        f"behind   {', '.join(scenario.rules) or '-'}  (rules of Coder's Well-Architected Framework, incidents of coder/coder)",
        f"red by   {', '.join(_red(red) for red in scenario.red_by) or 'no seeded bug yet'}",
        f"file     {scenario.source}",
        f"example  coder-chaos run -s {scenario.name}",
        "",
        render_plan(scenario, steps, 0, env),
    ]
    return "\n".join(lines)


def _red(red: Red) -> str:
    return f"{red.bug} ({red.objective}{f', not by {red.twin}' if red.twin else ''})"


def _fault(cls: Any) -> str:
    fault = cls()
    target = next(t for t in paper_targets(2) if fits(cls, t))
    undo = asyncio.run(fault.prepare(target))
    lines = [
        f"fault    {name_of(cls)}: {_text(cls)}",
        f"params   {_params(cls)}",
        f"needs    {cls.needs.__name__}: {(inspect.getdoc(cls.needs) or '').splitlines()[0]}",
        f"proof    {fault.shows.text} on the {fault.shows.lane} lane of the target, {fault.shows.need} times in a row",
        f"undo     {', '.join(step.do for step in undo)}",
        f"takes its target down: {'yes' if takes_down(fault) else 'no'}",
        f"example  async with run.fault({cls.__name__}(), at=one({target.role!r})): await run.hold()",
    ]
    used = [
        name
        for name, scenario in sorted(discover.scenarios().items())
        if re.search(rf"\b{cls.__name__}\(", scenario.source.read_text())
    ]
    return "\n".join([*lines, f"used by  {', '.join(used) or 'no shipped scenario'}", ""])


def _objective(cls: Any) -> str:
    used = [name for name, s in sorted(discover.scenarios().items()) if any(isinstance(o, cls) for o in s.objectives)]
    lines = [
        f"objective {cls.name}: {_text(cls)}",
        f"params    {_params(cls)}",
        f"used by   {', '.join(used) or 'nobody'}",
        "",
    ]
    return "\n".join(lines)


def _stack(name: str) -> str:
    return f"stack {name}\n{inspect.getdoc(import_module(f'harness.backends.{name}')) or ''}\n"


def _text(cls: type) -> str:
    module = inspect.getmodule(cls)
    head = ((module and module.__doc__) or "").strip().splitlines()[0].partition(": ")[2]
    return f"{head}\n         {' '.join((inspect.getdoc(cls) or '').split())}"


def _params(cls: Any) -> str:
    return ", ".join(f.name if f.default is MISSING else f"{f.name}={f.default}" for f in fields(cls)) or "none"
