"""Runs of the real command that are cut short, and the difference they leave on this machine.

Every case has a folder of its own: its state, its temporary files and its run directories are in there. The folder's
name is in the environment of every process the run starts, so that ours are told from everybody else's. Its range of
ports is its own, too.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import crash_engine
import platformdirs
from click.testing import CliRunner

from harness import tools
from harness.cli import main
from harness.clients.docker import connect, socket_path
from harness.containers.images import Shelf
from harness.local import postgres
from harness.safety import proc, sysv

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
    from concurrent.futures import Future

HERE = Path(__file__).resolve().parent
KILL = str(HERE / "crash_scenario_kill.py")
FREEZE = str(HERE / "crash_scenario_freeze.py")
AT_ONCE = 2
GONE_S = 10.0
"""Nothing may be left this long after the harness is gone, seconds."""
ENGINE_GONE_S = 30.0
"""The same where an engine has to remove containers."""
TINY = {
    "replicas": "2",
    "baseline": "2s",
    "hold": "300ms",
    "calm": "0s",
    "recovery": "1s",
    "watchers": "2",
    "sessions": "",
    "writers": "2",
}
_SHM = Path("/dev/shm")  # noqa: S108 - only looked at
_CASES = count()
_PORTS_EACH = 40


@dataclass(frozen=True)
class Case:
    """One run and what is done to it: `acts` and `orders` by the driver, `outside` by us while it runs."""

    name: str
    acts: Sequence[Mapping[str, Any]] = ()
    scenario: str = KILL
    settings: Mapping[str, str] = field(default_factory=dict)
    orders: Mapping[str, Any] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)
    outside: Callable[[subprocess.Popen[bytes], Path], None] | None = None
    runs_dir: Path | None = None
    after: Sequence[str] = ()
    """A command to run once the harness is gone, before anybody looks what is left."""
    after_env: Mapping[str, str] = field(default_factory=dict)
    ports: str | None = None
    engine: bool = False
    """It runs on a Docker engine: nothing may be left there either, and it has longer for that."""
    idle: bool = False
    """Most of its time nothing runs."""
    timeout_s: float = 150.0


@dataclass
class Result:
    """What became of a case. `left` is empty when nothing is left; `gone_s` is how long that took, in seconds."""

    case: Case
    folder: Path
    code: int
    out: str
    err: str
    took_s: float
    hung: bool
    left: list[str]
    gone_s: float
    after: tuple[int, str]
    """Exit code and words of the command that `Case.after` names."""
    env: dict[str, str]
    attempts: int = 1

    @property
    def directory(self) -> Path:
        """The run directory; there must be exactly one."""
        found = [path for path in self.runs.iterdir() if path.is_dir() and not path.is_symlink()]
        assert len(found) == 1, found
        return found[0]

    @property
    def runs(self) -> Path:
        return self.case.runs_dir or self.folder / "runs"

    @property
    def acted(self) -> list[dict[str, Any]]:
        with suppress(FileNotFoundError):
            return [json.loads(line) for line in (self.folder / "acted").read_text().splitlines()]
        return []

    @property
    def kinds(self) -> list[str]:
        lines = (self.directory / "events.jsonl").read_text().split("\n")[:-1]
        return [json.loads(line)["kind"] for line in lines]

    @property
    def registrations(self) -> list[Path]:
        return sorted((self.folder / "state" / "runs").glob("*"))

    def command(self, *argv: str) -> tuple[int, str]:
        """Run another command of ours on this case's folders; give its exit code and all it printed."""
        done = CliRunner().invoke(main, argv, env=self.env)
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        return done.exit_code, done.output

    def judged(self) -> tuple[int, dict[str, Any]]:
        code, out = self.command("judge", str(self.directory))
        return code, json.loads(out)

    def told(self) -> str:
        """The case for an assertion that failed."""
        tail = "\n".join(self.err.splitlines()[-30:])
        times = f"{self.took_s:.1f} s, attempt {self.attempts}, gone after {self.gone_s:.1f} s"
        return f"{self.case.name}: exit {self.code}, {times}, {self.folder}\n{tail}\nleft: {self.left}"


def warm_cache() -> None:
    """Build what all runs share, once, before they run side by side."""
    cache = Path(platformdirs.user_cache_dir("coder-chaos"))
    tools.toxiproxy(cache, lambda _: None)
    postgres.template(cache)


def warm_images() -> dict[str, str]:
    """Make the images of the offline stack, once."""
    cache = Path(platformdirs.user_cache_dir("coder-chaos"))
    engine = connect(socket_path())
    try:
        return Shelf(engine, cache, lambda line: sys.stderr.write(f"{line}\n")).ensure()
    finally:
        engine.close()


def play(case: Case, base: Path) -> Result:
    """Run a case to its end and wait until nothing of it is left, or the time for that is over."""
    number = next(_CASES)
    folder = base / f"{number:02}-{case.name}"
    (folder / "tmp").mkdir(parents=True)
    low = 10000 + number * _PORTS_EACH % 9000
    ports = range(low, low + _PORTS_EACH)
    env = {key: value for key, value in os.environ.items() if not key.startswith(("CHAOS_", "CODER_", "STANDIN_"))}
    env |= {
        "TMPDIR": str(folder / "tmp"),
        "CHAOS_STATE_DIR": str(folder / "state"),
        "CHAOS_PORTS": case.ports or f"{ports.start}-{ports.stop - 1}",
    }
    env |= case.env
    settings = TINY | dict(case.settings)
    argv = [
        *(sys.executable, str(HERE / "crash_driver.py")),
        json.dumps({"steady": 20, **case.orders, "acts": list(case.acts)}),
        *("run", "-s", case.scenario, "--time-scale", "0.1", "--runs-dir", str(case.runs_dir or folder / "runs")),
        *(part for key, value in settings.items() for part in ("--set", f"{key}={value}")),
    ]
    machine = Machine(folder, ports)
    began = time.monotonic()
    with (folder / "out").open("wb") as out, (folder / "err").open("wb") as err:
        popen = subprocess.Popen(
            argv, env=env, cwd=folder, stdin=subprocess.DEVNULL, stdout=out, stderr=err, start_new_session=True
        )
    hung = False
    with machine.watching(popen.pid):
        try:
            if case.outside is not None:
                case.outside(popen, folder)
            popen.wait(timeout=max(1.0, case.timeout_s - (time.monotonic() - began)))
        except subprocess.TimeoutExpired:
            hung = True
        finally:
            if popen.poll() is None:
                popen.kill()
                popen.wait()
        took_s = time.monotonic() - began
        after = _run_after(case, env) if case.after else (0, "")
        ended = time.monotonic()

        def still() -> list[str]:
            return machine.left() or (crash_engine.left_of(case.runs_dir or folder / "runs") if case.engine else [])

        left = still()
        while left and time.monotonic() < ended + (ENGINE_GONE_S if case.engine else GONE_S):
            time.sleep(0.05)
            left = still()
        gone_s = time.monotonic() - ended
    machine.clear()
    return Result(
        case=case,
        folder=folder,
        code=popen.returncode,
        out=(folder / "out").read_text(errors="replace"),
        err=(folder / "err").read_text(errors="replace"),
        took_s=took_s,
        hung=hung,
        left=left,
        gone_s=gone_s,
        after=after,
        env={key: value for key, value in env.items() if key.startswith("CHAOS_")} | {"TMPDIR": env["TMPDIR"]},
    )


@contextmanager
def played(cases: Sequence[Case], base: Path, attempts: int = 3) -> Iterator[dict[str, Future[Result]]]:
    """All cases, two at a time in the order given and idle ones beside them; a result for each name, as they come.

    A stack that was too slow beside another never came to its acts: after all others it is played again, alone. What is
    left of any attempt counts always.
    """
    warm_cache()

    def settled(case: Case) -> Result:
        wait(first.values())
        result = first[case.name].result()
        left = list(result.left)
        while len(result.acted) < len(case.acts) and result.attempts < attempts:
            number = result.attempts + 1
            result = play(case, base)
            left += result.left
            result.left, result.attempts = left, number
        return result

    with ThreadPoolExecutor(AT_ONCE) as pool, ThreadPoolExecutor(1) as beside, ThreadPoolExecutor(1) as alone:
        first = {case.name: (beside if case.idle else pool).submit(play, case, base) for case in cases}
        yield {case.name: alone.submit(settled, case) for case in cases}


def cli(*argv: str, env: Mapping[str, str], timeout_s: float = 60) -> subprocess.CompletedProcess[str]:
    """Run another command of ours as a process."""
    return subprocess.run(
        [sys.executable, "-m", "harness.cli", *argv],
        env=env,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )


def _run_after(case: Case, env: dict[str, str]) -> tuple[int, str]:
    done = cli(*case.after, env=env | dict(case.after_env))
    return done.returncode, done.stdout + done.stderr


class Machine:
    """This machine before a run, and what of the run is on it: exactly ours, whatever else goes on."""

    def __init__(self, folder: Path, ports: range) -> None:
        self._mark = str(folder).encode()
        self._tmp = folder / "tmp"
        self._ports = ports
        self._segments = set(sysv.segments())
        self._users = _users()
        self._shm = _dev_shm()
        self._foreign = {entry.name for entry in Path("/proc").iterdir()}
        self.seen: set[proc.ProcessRef] = set()

    def watching(self, pid: int) -> _Watching:
        """Note every process below `pid`, and every one that bears our mark, until the context is left."""
        return _Watching(self, pid)

    def look(self, pid: int) -> None:
        """Look once."""
        self.seen.update(proc.descendants(pid))
        self.seen.update(self.marked(self._foreign))

    def marked(self, but: Collection[str] = ()) -> list[proc.ProcessRef]:
        """Living processes with our folder in their environment, command line or working folder, `but` not these."""
        found = []
        for entry in Path("/proc").iterdir():
            if not entry.name.isdecimal() or int(entry.name) == os.getpid() or entry.name in but:
                continue
            with suppress(OSError):
                if self._bears_mark(entry):
                    found.append(proc.ref(int(entry.name)))
        return [process for process in found if proc.state(process) != "gone"]

    def _bears_mark(self, entry: Path) -> bool:
        for name in ("cmdline", "environ"):
            with suppress(PermissionError):
                if self._mark in (entry / name).read_bytes():
                    return True
        with suppress(PermissionError):
            return str(entry.joinpath("cwd").readlink()).encode().startswith(self._mark)
        return False

    def left(self) -> list[str]:
        """One line for each thing of the run that is still there."""
        processes = {*(p for p in self.seen if proc.state(p) != "gone"), *self.marked()}
        self.seen |= processes
        ours = {process.pid for process in self.seen}
        left = [f"process {process} {_command(process.pid)}" for process in sorted(processes, key=lambda p: p.pid)]
        left += [
            f"shared memory segment {segment.shmid} of {segment.creator}"
            for segment in sysv.segments().values()
            if segment.creator in ours and segment.shmid not in self._segments
        ]
        left += [f"shared memory {_SHM / name}" for name in sorted(_dev_shm() - self._shm) if not _mapped(name)]
        left += [f"in the temporary folder: {path.name}" for path in self._tmp.iterdir()]
        left += [] if _users() == self._users else ["users or groups were changed"]
        left += [f"port {port} is still open" for port in sorted(_listening() & set(self._ports))]
        return left

    def clear(self) -> None:
        """Kill what a failed case left; it must not disturb the next one."""
        for process in {*(p for p in self.seen if proc.state(p) != "gone"), *self.marked()}:
            with suppress(PermissionError):
                proc.send(process, signal.SIGKILL)


class _Watching:
    def __init__(self, machine: Machine, pid: int) -> None:
        self._machine, self._pid = machine, pid
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def _watch(self) -> None:
        while not self._over.wait(0.5):
            self._machine.look(self._pid)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()


def _command(pid: int) -> str:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")[:100]
    return ""


def _users() -> bytes:
    return Path("/etc/passwd").read_bytes() + Path("/etc/group").read_bytes()


def _dev_shm() -> set[str]:
    with suppress(FileNotFoundError):
        return {path.name for path in _SHM.iterdir()}
    return set()


def _mapped(name: str) -> bool:
    """Whether a living process uses it: then it is not left over, and not ours, for ours are gone or listed."""
    for maps in Path("/proc").glob("[0-9]*/maps"):
        with suppress(OSError):
            if str(_SHM / name) in maps.read_text():
                return True
    return False


def _listening() -> set[int]:
    ports = set()
    for table in ("tcp", "tcp6"):
        with suppress(FileNotFoundError):
            rows = [line.split() for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]]
            ports |= {int(row[1].rpartition(":")[2], 16) for row in rows if row[3] == "0A"}
    return ports


def eventually(check: Callable[[], Any], what: str, within_s: float) -> Any:
    """Wait until `check` gives something true, and return it."""
    ends = time.monotonic() + within_s
    while not (seen := check()):
        assert time.monotonic() < ends, f"not within {within_s:g} s: {what}; last seen {seen!r}"
        time.sleep(0.02)
    return seen
