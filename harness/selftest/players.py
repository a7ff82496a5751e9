"""How a case becomes a run: its settings, and the stack it is played on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness.config import PREFIX, Settings, load
from harness.evidence import make_run_dir
from harness.selftest import onfake
from harness.selftest.cases import QUICK
from harness.selftest.checks import Played
from harness.session import run_one

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from harness.selftest.cases import Case
    from harness.selftest.matrix import Play

FAKE = "fake"


def settings_for(
    case: Case, environ: Mapping[str, str], flags: Mapping[str, Any], pairs: Mapping[str, str]
) -> Settings:
    """Resolve the quick pace, then what the user said, then what the case itself needs. Raises UsageError.

    The fake stack keeps the settings' own pace: its time costs nothing.
    """
    if case.modelled:
        flags = {**flags, "stack": FAKE}
    given = {key.replace("-", "_") for key in pairs} | set(flags)
    quick = {k: v for k, v in QUICK.items() if k not in given and PREFIX + k.upper() not in environ}
    needs = {**pairs, **case.settings}
    if load(environ, flags, pairs).stack == FAKE:
        return load(environ, flags, needs)
    return load(environ, flags, {**quick, **needs})


def player(settings_of: Callable[[Case], Settings], environ: Mapping[str, str], say: Callable[[str], None]) -> Play:
    """Play cases on the stack of their settings: as `run` does, or under virtual time on the fake."""

    def play(case: Case) -> Played:
        settings = settings_of(case)
        if settings.stack == FAKE:
            return _modelled(case, settings)
        bugs = {**environ, "STANDIN_BUGS": case.name}
        verdict, _, directory, code = run_one(case.scenario, settings, say=say, environ=bugs)
        return Played(verdict, code, directory, settings.stack)

    return play


def _modelled(case: Case, settings: Settings) -> Played:
    made = make_run_dir(settings.runs_dir, case.scenario.name, case.bugs[0])
    made.rmdir()  # `play` makes its own, and only there
    # What nobody set stays unset: a scenario may need more replicas than the default.
    values = settings.model_dump(include=settings.model_fields_set - {"stack", "seed"})
    run = onfake.play(made, case.scenario, bugs=case.name, seed=settings.seed or 1, **values)
    return Played(run.verdict, run.verdict.exit_code, run.directory, FAKE)
