"""One command-line run: lock, sweep, run directory, signals, and the exit code at the end."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import secrets
import signal
import sys
from contextlib import ExitStack
from importlib import import_module
from typing import TYPE_CHECKING

from harness.course import Request, asked_of
from harness.errors import HarnessError
from harness.evidence import make_run_dir
from harness.runner import Stop, execute
from harness.safety.locks import lock
from harness.safety.sweep import sweep
from harness.verdict import DIRTY_EXIT

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path
    from types import ModuleType

    from harness.api import Scenario
    from harness.config import Settings
    from harness.keep import Keep, Kept
    from harness.verdict import Verdict


def say_to_stderr(text: str) -> None:
    """Chatter goes to stderr; stdout is for results."""
    print(text, file=sys.stderr, flush=True)  # noqa: T201


def server_env(environ: Mapping[str, str]) -> dict[str, str]:
    """What of the caller's environment may reach the replicas: variants of the stand-in, by its own prefix."""
    return {key: value for key, value in environ.items() if key.startswith("STANDIN_") and key != "STANDIN_TIME_SCALE"}


def run_one(
    scenario: Scenario,
    settings: Settings,
    *,
    say: Callable[[str], None],
    environ: Mapping[str, str] | None = None,
    keep: Keep | None = None,
) -> tuple[Verdict, str, Path, int]:
    """Run one scenario; return verdict, report, run directory and exit code. Raises HarnessError before the start.

    `environ` is what `server_env` chooses from, the process's own environment by default. With `keep` it is a run of a
    suite: its stack may come from the run before, and may go on to the next.
    """
    run = base64.b32encode(secrets.token_bytes(5)).decode().lower()
    settings.state_dir.mkdir(parents=True, exist_ok=True)
    backend = import_module(f"harness.backends.{settings.stack}")
    with ExitStack() as held:
        if keep is not None and keep.kept is not None:
            held.enter_context(keep.locks.pop_all())
        else:
            held.enter_context(lock(settings.state_dir, settings.stack, run=run, run_dir=settings.runs_dir))
        try:
            return _locked(scenario, settings, run, backend, say, environ, keep)
        finally:
            if keep is not None and keep.kept is not None:
                keep.locks = held.pop_all()


def _locked(  # noqa: PLR0917 - as `run_one`, whose second half it is
    scenario: Scenario,
    settings: Settings,
    run: str,
    backend: ModuleType,
    say: Callable[[str], None],
    environ: Mapping[str, str] | None,
    keep: Keep | None,
) -> tuple[Verdict, str, Path, int]:
    sweep(settings.state_dir, lambda line: say(f"sweep: {line}"))
    # What the stack is made of comes first: a machine that lacks it gets no run directory.
    if hasattr(backend, "prepare"):
        backend.prepare(settings.cache_dir, say)
    directory = make_run_dir(settings.runs_dir, scenario.name, run)
    seed = settings.seed if settings.seed is not None else secrets.randbelow(2**31)
    env = server_env(os.environ if environ is None else environ)
    use = keep.check(asked_of(settings.sized_for(scenario.name, scenario.replicas), env)) if keep else None
    left = left_by(keep.closed, settings) if keep and keep.closed else []
    request = Request(
        scenario=scenario,
        settings=settings,
        seed=seed,
        run=run,
        directory=directory,
        open=backend.open,
        server_env=env,
        command=sys.argv,
        say=_stamped(say),
        keep=keep,
        stack_use=use,
    )
    say(f"run {run}  {scenario.name}  seed {seed}  {directory}")
    stop = Stop()
    try:
        verdict, report = drive(request, stop, getattr(backend, "loop_factory", None))
    except HarnessError:
        _remove_if_empty(directory)
        raise
    code = verdict.exit_code
    if stop.by == "operator":
        code = 128 + stop.signal
    if keep is None or keep.kept is None:
        started_by = (use or {}).get("started_by") or run
        left += _left(directory, settings.state_dir / "runs" / f"{started_by}.json")
    if left:
        say(dirty(left))
        code = DIRTY_EXIT
    return verdict, report, directory, code


def left_by(kept: Kept, settings: Settings) -> list[str]:
    """What the teardown of a stack that was kept between two runs could not remove."""
    return _left(kept.directory, settings.state_dir / "runs" / f"{kept.started_by}.json")


def dirty(left: list[str]) -> str:
    """Say it."""
    return f"DIRTY: left behind: {'; '.join(left)}; run: coder-chaos sweep"


def drive(
    request: Request, stop: Stop, loop_factory: Callable[[], asyncio.AbstractEventLoop] | None
) -> tuple[Verdict, str]:
    """Run in a loop of its own, or in its suite's, in which SIGINT and SIGTERM set `stop`; return verdict and report."""
    if request.keep is not None:
        return request.keep.runner.run(_main(request, stop))
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        return runner.run(_main(request, stop))


async def _main(request: Request, stop: Stop) -> tuple[Verdict, str]:
    task, loop = asyncio.current_task(), asyncio.get_running_loop()
    if task is None:
        raise AssertionError("main runs in a task")
    signals = (signal.SIGINT, signal.SIGTERM)
    for number in signals:
        loop.add_signal_handler(number, _on_signal, number, task, stop, request.say)
    try:
        return await execute(request, stop)
    finally:
        for number in signals if request.keep is not None else ():
            loop.remove_signal_handler(number)  # between two runs a signal has nobody's run to stop


def _on_signal(number: signal.Signals, task: asyncio.Task[object], stop: Stop, say: Callable[[str], None]) -> None:
    if stop.by:
        say(f"{number.name} again: leaving now; the keeper undoes and takes everything down")
        os._exit(128 + number)  # the keeper sees our end of its pipe close
    stop.ask("operator", f"{number.name} received", int(number))
    if stop.late:
        say(f"{number.name}: the run is over and being taken down; once more to leave at once")
        return
    say(f"{number.name}: undoing, then the report; once more to leave at once")
    task.cancel()


def _stamped(say: Callable[[str], None]) -> Callable[[str], None]:
    from time import monotonic  # noqa: PLC0415

    began = monotonic()
    return lambda text: say(f"{monotonic() - began:7.1f}s  {text}")


def _left(directory: Path, registration: Path) -> list[str]:
    """What the teardown could not remove. A registration is closed only when all is gone: it counts on a full disk too."""
    if not registration.exists():
        return []
    try:
        left = json.loads((directory / "teardown.json").read_text())["left"]
    except (OSError, ValueError, KeyError):
        left = []
    return [str(item) for item in left] or [f"see {registration}"]


def _remove_if_empty(directory: Path) -> None:
    """A run that never started leaves its event log and logs: they say why. Only an empty folder is removed."""
    try:
        directory.rmdir()
    except OSError:
        return
