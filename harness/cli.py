"""The command line. Sub-commands import what they need when they run, so that `--help` is fast."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, NoReturn

import click

from harness import __version__
from harness.errors import HarnessError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from harness.api import Scenario
    from harness.config import Settings

_CODES = """\b
Exit codes: 0 pass, 1 fail, 2 usage or config, 3 inconclusive, 4 aborted by a guardrail, 5 environment not ready
(nothing was injected), 6 dirty, 70 internal error, 130/143 after a signal and its undo."""


class _Group(click.Group):
    """Maps our errors to one line and their exit code; a traceback never reaches a user unasked."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except HarnessError as error:
            _fail(error)
        except KeyboardInterrupt:
            click.echo("coder-chaos: interrupted", err=True)
            sys.exit(130)
        except BrokenPipeError:
            raise  # whoever read us has seen enough; click ends quietly
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except Exception as error:  # noqa: BLE001 - Python's own exit code, 1, would say that a promise was broken
            _fail(HarnessError(f"internal error: {type(error).__name__}: {error} ({_place(error)})"))


def _place(error: BaseException) -> str:
    """Where it was raised, for a report of the bug."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace else "no traceback"


def _fail(error: HarnessError) -> NoReturn:
    click.echo(f"coder-chaos: {error}", err=True)
    sys.exit(error.exit_code)


@click.group(
    cls=_Group, epilog=_CODES, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110}
)
@click.version_option(__version__, prog_name="coder-chaos")
def main() -> None:
    """Break a Coder deployment on purpose, prove that it was broken, and say whether its users got their service back."""


def _settings(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that settings have; `--set KEY=VALUE` reaches every one of them."""
    options = [
        click.option("--stack", help="Where Coder runs: local or compose."),
        click.option(
            "--offline", is_flag=True, default=None, help="compose: make the images here, with the stand-in as Coder."
        ),
        click.option("--project", help="compose: break this project of yours; CODER_SESSION_TOKEN is an owner's."),
        click.option("--allow", help="Kinds of faults that your project permits, separated by commas: kill,freeze."),
        click.option("--replicas", help="Coder replicas behind the balancer."),
        click.option("--size", help="Load level: dev, nightly, gameday, gameday-2000, gameday-3000."),
        click.option("--seed", help="Seed of every choice."),
        click.option("--time-scale", help="Speed of the server's own timers; below 1 only the stand-in can."),
        click.option("--runs-dir", help="Folder for run directories."),
        click.option(
            "--set", "extra", multiple=True, metavar="KEY=VALUE", help="Any setting by name; see `list settings`."
        ),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def _resolve(flags: dict[str, Any]) -> Settings:
    import os

    from harness.config import load

    return load(os.environ, _given(flags), _pairs(flags))


def _given(flags: dict[str, Any]) -> dict[str, Any]:
    """Options of settings that were given."""
    return {key: value for key, value in flags.items() if key != "extra" and value is not None}


def _pairs(flags: dict[str, Any]) -> dict[str, str]:
    """Settings given by `--set`."""
    from harness.errors import UsageError

    pairs = {}
    for pair in flags.get("extra") or ():
        key, sign, value = pair.partition("=")
        if not sign:
            raise UsageError(f"--set: {pair!r} has no value; write KEY=VALUE")
        pairs[key] = value
    return pairs


@main.command()
@_settings
@click.option("-s", "--scenario", default="replica-kill", show_default=True, help="Scenario to play.")
def demo(scenario: str, **flags: Any) -> None:
    """Start a throw-away stand-in deployment, break it once under load, and report. Needs nothing but this package."""
    click.echo(
        "This demo runs a small stand-in for Coder with real PostgreSQL, Toxiproxy and Caddy. It says nothing about yours.",
        err=True,
    )
    from harness import discover

    _run(discover.scenario(scenario), flags)


@main.command()
@_settings
@click.option("-s", "--scenario", "names", multiple=True, help="Scenario by name, or path of a file; may be repeated.")
@click.option("-k", "expression", help="Scenarios whose name or tags fit, such as 'replica and not freeze'.")
@click.option("--tag", "tags", multiple=True, help="Scenarios with this tag; may be repeated.")
@click.option("--repeat", type=click.IntRange(1, 1000), default=1, show_default=True, help="Rounds of the whole suite.")
@click.option("--fail-fast", is_flag=True, help="Stop at the first run that does not pass.")
@click.option("--fresh", is_flag=True, help="A fresh stack for every run, also where the last one is as good as new.")
def run(names: tuple[str, ...], expression: str | None, tags: tuple[str, ...], **flags: Any) -> None:
    """Run one scenario, or a suite of them one after the other, and judge each."""
    from harness.selection import select

    repeat, fail_fast, fresh = flags.pop("repeat"), flags.pop("fail_fast"), flags.pop("fresh")
    if not names and expression is None and not tags:
        raise click.UsageError("say which: -s NAME, -k EXPRESSION or --tag TAG; see `coder-chaos list scenarios`")
    chosen = select(names, expression, tags)
    if len(chosen) * repeat == 1:
        _run(chosen[0], flags)
    _suite(chosen, repeat, flags, fail_fast=fail_fast, fresh=fresh)


def _suite(chosen: list[Scenario], repeat: int, flags: dict[str, Any], *, fail_fast: bool, fresh: bool) -> NoReturn:
    from harness import suite
    from harness.session import say_to_stderr

    played = suite.play(chosen, repeat, _resolve(flags), say=say_to_stderr, fail_fast=fail_fast, fresh=fresh)
    click.echo(suite.table(played, len(chosen) * repeat), nl=False)
    for bad in [run for run in played if run.code and run.directory]:
        click.echo(f"report  coder-chaos report {bad.directory}")
    sys.exit(suite.exit_code(played))


def _run(scenario: Scenario, flags: dict[str, Any]) -> NoReturn:
    from harness.session import run_one, say_to_stderr

    settings = _resolve(flags)
    verdict, report, directory, code = run_one(scenario, settings, say=say_to_stderr)
    click.echo(report, nl=False)
    click.echo(f"\n{verdict.status}  {verdict.why}")
    click.echo(f"run directory  {directory}")
    sys.exit(code)


@main.command()
@_settings
@click.option(
    "-k", "expression", help="Rows that fit, by kind, scenario, tag or name: 'bug and replica', 'not mirror'."
)
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
def selftest(expression: str | None, output: str, **flags: Any) -> None:
    """Show that every check can fail: seeded bugs turn their scenario red, their twins do not, sabotage is noticed.

    At a quick pace of its own (time scale 0.25, short phases) unless told otherwise; nothing is repeated. Exit code 0: all
    is as declared, 3: but for runs that were INCONCLUSIVE, 1: it is not.
    """
    from harness.selftest.command import run_all

    sys.exit(run_all(expression, output, _given(flags), _pairs(flags), click.echo))


@main.command()
@_settings
@click.option("-s", "--scenario", required=True, help="Scenario by name, or the path of a scenario file.")
def plan(scenario: str, **flags: Any) -> None:
    """Print what a run would do, with its targets, proof and undo. Changes nothing."""
    import asyncio
    import secrets

    from harness import discover
    from harness.plan import dry_run, render_plan

    found = discover.scenario(scenario)
    settings = _resolve(flags).sized_for(found.name, found.replicas)
    seed = settings.seed if settings.seed is not None else secrets.randbelow(2**31)
    steps = asyncio.run(dry_run(found, seed=seed, env=settings.env, hold_s=settings.hold, limits=settings.limits))
    click.echo(render_plan(found, steps, seed, settings.env), nl=False)


@main.command("list")
@click.argument(
    "what", type=click.Choice(["scenarios", "faults", "objectives", "stacks", "settings"]), default="scenarios"
)
def list_(what: str) -> None:
    """List scenarios, faults, objectives, stacks or settings."""
    from harness.listing import listing

    click.echo(listing(what), nl=False)


@main.command()
@_settings
@click.argument("name")
def show(name: str, **flags: Any) -> None:
    """Show one scenario, fault, objective or stack: parameters, needs, proof, undo, an example."""
    from harness.showing import show as text

    click.echo(text(name, _resolve(flags).env), nl=False)


@main.command()
@_settings
@click.option(
    "--build-compose", is_flag=True, help="First build Docker's Compose plugin into the cache, if it is missing."
)
def doctor(*, build_compose: bool, **flags: Any) -> None:
    """Check that this machine can run a stack; one line each, with the fix."""
    from harness import doctor

    settings = _resolve(flags)
    if build_compose:
        doctor.build_compose(settings, lambda line: click.echo(line, err=True))
    bad = False
    for check in doctor.checks(settings):
        bad |= not check.ok
        click.echo(f"{'✔' if check.ok else '✘'} {check.id} {check.said}" + ("" if check.ok else f"  Fix: {check.fix}"))
    sys.exit(5 if bad else 0)


def _directory(value: str) -> Path:
    from pathlib import Path

    from harness.errors import RunDirError

    path = Path(value)
    if not path.is_dir():
        raise RunDirError(f"{value}: no such run directory")
    return path


@main.command()
@click.argument("directory")
def judge(directory: str) -> None:
    """Judge a saved run again and print the verdict as JSON. Writes nothing."""
    from harness.evidence import conclude

    verdict, _ = conclude(_directory(directory))
    click.echo(verdict.to_json(), nl=False)
    sys.exit(verdict.exit_code)


@main.command()
@click.argument("directory")
def report(directory: str) -> None:
    """Draw the report of a saved run again. Writes nothing."""
    from harness.evidence import conclude

    verdict, text = conclude(_directory(directory))
    click.echo(text, nl=False)
    sys.exit(verdict.exit_code)


@main.command()
@click.argument("directory")
def heal(directory: str) -> None:
    """Undo the faults of a run that could not undo them itself, from its journal. Safe to repeat."""
    from harness.heal import heal as do

    sys.exit(do(_directory(directory), click.echo))


@main.command()
@_settings
def sweep(**flags: Any) -> None:
    """Remove what dead runs left behind. Never touches a live run."""
    from harness.safety.sweep import sweep as do

    settings = _resolve(flags)
    gone = do(settings.state_dir, lambda line: click.echo(f"sweep: {line}"))
    if not gone:
        click.echo("sweep: nothing was left behind")


if __name__ == "__main__":
    main()
