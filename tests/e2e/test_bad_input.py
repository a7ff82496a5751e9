"""What people get wrong, and what machines lack: one clear line, the right exit code, and nothing left behind."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import crash_lab as lab
import pytest
from crash_lab import Case, Result

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

pytestmark = pytest.mark.e2e

EXITS = "#!/bin/sh\necho 'coder: reading the licence'\necho 'error: the licence file is damaged' >&2\nexit 1\n"
SLEEPS = "#!/bin/sh\necho 'coder: waiting for the moon'\nexec sleep 300\n"
SCENARIOS = {
    "role.py": (lab.HERE / "crash_scenario_kill.py").read_text().replace('one("coder")', 'one("database-replica")'),
    "broken.py": '"""A promise."""\n\nimport no_such_module\n',
    "syntax.py": '"""A promise."""\n\nasync def broken(:\n',
    "empty.py": '"""A promise, and no scenario."""\n',
}
NOTHING = "/nonexistent"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Scenario files and `coder` commands that are no good."""
    folder = tmp_path_factory.mktemp("files")
    for name, text in SCENARIOS.items():
        (folder / name).write_text(text)
    for name, text in (("exits", EXITS), ("sleeps", SLEEPS)):
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    return folder


def cases(files: Path) -> Mapping[str, tuple[Case, int, list[str]]]:
    """Each with its exit code and what the one line must say."""
    no_go = {"PATH": NOTHING, "PIP_INDEX_URL": "http://127.0.0.1:9/", "PIP_RETRIES": "0", "PIP_CONFIG_FILE": os.devnull}
    rows = [
        (Case("unknown-scenario", scenario="replica-kil"), 2, ["'replica-kil'", "did you mean 'replica-kill'?"]),
        (Case("unknown-flag", settings={"warmpu": "3s"}), 2, ["'warmpu'", "did you mean 'warmup'?"]),
        (
            Case("unknown-variable", env={"CHAOS_WARMPU": "3s"}),
            2,
            ["environment: unknown key CHAOS_WARMPU", "did you mean 'CHAOS_WARMUP'?"],
        ),
        (Case("no-unit", settings={"warmup": "3"}), 2, ["warmup", "has no unit; write 3s or 3ms"]),
        (Case("unknown-unit", settings={"warmup": "3parsecs"}), 2, ["warmup", "unknown unit 'parsecs'"]),
        (
            Case("unknown-role", scenario=str(files / "role.py")),
            2,
            ["no target has the role 'database-replica'", "balancer, coder, database, proxy"],
        ),
        (Case("no-file", scenario="no-such.py"), 2, ["no-such.py: no such file"]),
        (
            Case("does-not-import", scenario=str(files / "broken.py")),
            2,
            [f"{files / 'broken.py'}:3: does not import", "no_such_module"],
        ),
        (
            Case("does-not-import-relative", scenario=f"../../{files.name}/broken.py"),
            2,
            [f"../../{files.name}/broken.py:3: does not import"],
        ),
        (Case("syntax", scenario=str(files / "syntax.py")), 2, [f"{files / 'syntax.py'}:3: does not import"]),
        (Case("no-scenario", scenario=str(files / "empty.py")), 2, ["empty.py: holds no scenario"]),
        (
            Case("no-free-port", ports="20000-20001"),
            5,
            ["no free port", "20000-20001", "widen it with CHAOS_PORTS=low-high"],
        ),
        (
            Case("coder-exits", env={"CHAOS_CODER": str(files / "exits")}),
            5,
            ["coder-1 died while starting", "reading the licence", "the licence file is damaged"],
        ),
        (
            Case("coder-relative", env={"CHAOS_CODER": f"../../{files.name}/exits"}),
            5,
            ["coder-1 died while starting", "the licence file is damaged"],
        ),
        (
            Case("coder-sleeps", env={"CHAOS_CODER": str(files / "sleeps")}, orders={"start_s": 3.0}),
            5,
            ["coder-1", "not within 3 s", "waiting for the moon"],
        ),
        (Case("no-coder", env={"CHAOS_CODER": NOTHING}), 5, ["coder-1", NOTHING, "not found"]),
        (
            Case("no-registry", env={**no_go, "CHAOS_CACHE_DIR": str(files / "cache")}),
            5,
            ["is a package registry reachable?", "put a toxiproxy-server", "on PATH"],
        ),
    ]
    return {case.name: (case, code, texts) for case, code, texts in rows}


@pytest.fixture(scope="module")
def results(files: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Future[Result]]]:
    lab.warm_cache()
    base = tmp_path_factory.mktemp("bad")
    with ThreadPoolExecutor(3) as pool:
        yield {name: pool.submit(lab.play, case, base) for name, (case, _, _) in cases(files).items()}


def complaint(result: Result) -> str:
    """What the command said at its end: one clear line (log lines may follow it), and nothing is left."""
    assert not result.hung, result.told()
    assert "Traceback" not in result.err, result.told()
    lines = result.err.splitlines()
    said = [number for number, line in enumerate(lines) if line.startswith("coder-chaos: ")]
    assert len(said) == 1, result.told()
    assert all(line.startswith("  ") for line in lines[said[0] + 1 :]), result.told()
    assert result.out == ""
    assert result.left == []
    assert result.registrations == []
    assert not (result.runs / "latest").is_symlink() or (result.runs / "latest").exists(), "`latest` leads nowhere"
    return "\n".join(lines[said[0] :])


@pytest.mark.parametrize("name", cases(Path("files")))
def test_bad_input(results: dict[str, Future[Result]], files: Path, name: str) -> None:
    _, code, texts = cases(files)[name]
    result = results[name].result()
    said = complaint(result)
    assert result.code == code, said
    for text in texts:
        assert text in said


def test_a_second_run_names_the_first(tmp_path: Path) -> None:
    first = Case("first", [{"kind": "plan", "do": ["stop"]}], outside=_run_a_second)
    result = lab.play(first, tmp_path)
    done = json.loads((result.folder / "second").read_text())
    run = result.directory.name.rpartition("-")[2]
    assert done["code"] == 5
    assert "Traceback" not in done["err"]
    (line,) = done["err"].splitlines()
    assert line.startswith("coder-chaos: target local is in use by run ")
    assert f"run {run} (pid {done['pid']}, run directory {result.runs}" in line
    assert len([path for path in result.runs.iterdir() if not path.is_symlink()]) == 1, "it left a run directory"
    assert result.left == []


def _run_a_second(popen: subprocess.Popen[bytes], folder: Path) -> None:
    lab.eventually((folder / "acted").exists, "the first run has its lock", 30)
    env = os.environ | {"CHAOS_STATE_DIR": str(folder / "state")}
    done = lab.cli("run", "-s", "replica-kill", "--runs-dir", str(folder / "runs"), env=env)
    facts = {"code": done.returncode, "err": done.stderr, "pid": popen.pid}
    (folder / "second").write_text(json.dumps(facts))
    popen.send_signal(signal.SIGKILL)


def test_a_kill_while_the_first_start_builds(tmp_path: Path) -> None:
    """The first start builds Toxiproxy; killed meanwhile, no compiler goes on, and the next start clears up."""
    (tmp_path / "bin").mkdir()
    cache, started = tmp_path / "cache", tmp_path / "started"
    go = tmp_path / "bin" / "go"
    env = {"PATH": str(go.parent), "CHAOS_CACHE_DIR": str(cache)}

    def kill(popen: subprocess.Popen[bytes], _: Path) -> None:
        lab.eventually(started.exists, "the build has begun", 30)
        popen.kill()

    go.write_text(f"#!/bin/sh\n: > {started}\nexec /bin/sleep 300\n")
    go.chmod(0o755)
    result = lab.play(Case("killed-build", env=env, outside=kill), tmp_path)
    assert result.code == -signal.SIGKILL
    assert result.left == []
    assert len(list(cache.iterdir())) == 1
    go.write_text("#!/bin/sh\necho 'go: no such module' >&2\nexit 1\n")
    result = lab.play(Case("failed-build", env=env), tmp_path)
    assert "could not build toxiproxy: go: no such module" in complaint(result)
    assert result.code == 5
    assert list(cache.iterdir()) == []


def test_a_run_that_was_cut_in_mid_line(tmp_path: Path) -> None:
    result = lab.play(Case("cut", [{"kind": "plan", "do": ["kill"]}]), tmp_path)
    log = result.directory / "events.jsonl"
    whole = log.read_bytes()
    log.write_bytes(whole[:-10])
    code, verdict = result.judged()
    assert (code, verdict["status"]) == (3, "INCONCLUSIVE")
    assert "its event log is cut in mid-line" in verdict["why"]
    log.write_bytes(whole.replace(b'"kind":"plan"', b'"kind:"plan"'))
    code, said = result.command("judge", str(result.directory))
    assert (code, said.count("\n")) == (2, 1)
    assert f"{log}:2: not an event" in said
    log.write_bytes(whole[:20])
    code, said = result.command("judge", str(result.directory))
    assert (code, said.count("\n")) == (2, 1)
    assert "run header" in said


@contextmanager
def small_disk(folder: Path, mebibytes: int) -> Iterator[bool]:
    """Mount a small file system on `folder`, where we may; gives whether it is one."""
    folder.mkdir()
    mount = shutil.which("mount")
    size = f"size={mebibytes}m"
    mounted = (
        bool(mount)
        and not subprocess.run(
            [mount, "-t", "tmpfs", "-o", size, "chaos-test", str(folder)], check=False, capture_output=True
        ).returncode
    )
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run([shutil.which("umount") or "umount", str(folder)], check=True)


def test_a_disk_that_is_full_at_the_start(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 8) as mounted:
        orders = {} if mounted else {"patch": {"harness.evidence:NEED_BYTES": 2**62}}
        result = lab.play(Case("full-at-start", runs_dir=tmp_path / "disk", orders=orders), tmp_path)
        said = complaint(result)
        assert result.code == 5
        assert "MiB free, a run needs" in said
        assert "free space or set CHAOS_RUNS_DIR" in said
        assert list((tmp_path / "disk").iterdir()) == []


@pytest.mark.parametrize("which", ["disk", "log"])
def test_a_disk_that_fills_up_under_a_fault(tmp_path: Path, which: str) -> None:
    """`disk` fills a real file system (where one may be mounted); `log` makes only the event log meet a full device."""
    disk = tmp_path / "disk"
    with small_disk(disk, 80) as mounted:
        deed = f"fill:{disk}" if which == "disk" and mounted else "full"
        case = Case("full", [{"kind": "fault.proven", "do": [deed]}], runs_dir=disk, settings={"hold": "3s"})
        for attempt in range(3):
            result = lab.play(case, tmp_path)
            if result.acted:
                break
            shutil.rmtree(result.directory)
            assert attempt < 2, result.told()
        assert not result.hung
        assert result.code in (3, 70), result.told()
        assert "Traceback" not in result.err, result.told()
        assert result.err.count("No space left on device") == 1, result.told()
        assert "free space and run again" in result.err
        log = (result.directory / "keeper.jsonl").read_text()  # a full disk takes no line of it
        assert "undone: started coder-" in result.err or '"undone"' in log, result.told()
        assert result.out.startswith("INCONCLUSIVE"), "the report is printed as always"
        assert result.left == []
        assert result.registrations == []
