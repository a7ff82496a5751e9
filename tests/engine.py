"""Runs a command with a Docker engine for the tests: `python tests/engine.py COMMAND...`.

Where there is none, one is set up and taken down again, but only with CI=true or CHAOS_SETUP_DOCKER=1, as root, on
Debian. It has a socket, a data folder, mounts and a bridge of its own, and ends when we do. Packages stay installed, as
packages do; the images go with the data folder. Without an engine the command runs all the same, and TEST_NO_ENGINE says
why there is none.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

from harness.clients.docker import connect, socket_path
from harness.config import Settings
from harness.containers import plugin
from harness.errors import NotReady
from harness.safety import proc

FOLDER = Path("/tmp/chaos-test-engine")  # noqa: S108 - short, for the socket; its mode is 0700
SOCKET = FOLDER / "docker.sock"
STATE = FOLDER / "engine.json"
BRIDGE = "chaos-docker0"
POOL = "10.214."
"""Where its networks have their addresses."""
CHAINS = ("DOCKER", "DOCKER-ISOLATION-STAGE-1", "DOCKER-ISOLATION-STAGE-2", "DOCKER-USER")
PACKAGES = {"dockerd": "docker.io", "iptables": "iptables", "mmdebstrap": "mmdebstrap", "unshare": "util-linux"}
UP_S = 60
INSTALL_S = 600


class NoEngine(Exception):  # noqa: N818 - it is no error, it is what there is
    """There is none; the text says how to get one."""


def up(*, allowed: bool) -> dict[str, str]:
    """Find an engine or start one, with the plugin; gives the environment to find it by. Raises NoEngine."""
    environment = found()
    if environment is None:
        if not allowed:
            raise NoEngine("no Docker engine: CHAOS_SETUP_DOCKER=1 make test sets one up (as root, on Debian)")
        install()
        environment = start()
    settings = Settings()
    try:
        if allowed:
            plugin.build(settings.cache_dir, say)
        plugin.needed(settings.cache_dir)
    except NotReady as error:
        raise NoEngine(str(error)) from error
    return environment


def found() -> dict[str, str] | None:
    """Where the caller's engine is, if there is one: nothing to add to the environment."""
    with suppress(NotReady):
        connect(socket_path()).close()
        return {}
    return None


def install() -> None:
    missing = [package for program, package in PACKAGES.items() if shutil.which(program) is None]
    if missing and (os.geteuid() != 0 or shutil.which("apt-get") is None):
        raise NoEngine(f"no Docker engine, and only root on Debian can set one up: {', '.join(missing)} missing")
    if missing:
        say(f"installing {', '.join(missing)}")
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        for deed in (["update"], ["install", "--yes", "--no-install-recommends", *missing]):
            done = subprocess.run(
                ["apt-get", "-qq", *deed],
                env=environment,
                capture_output=True,
                text=True,
                timeout=INSTALL_S,
                check=False,
            )
            if done.returncode:
                raise NoEngine(f"apt-get {deed[0]}: {' | '.join(done.stderr.strip().splitlines()[-2:])}")


def start() -> dict[str, str]:
    """Start dockerd; it lives until `down`, or until we die. SIGUSR1 restarts it."""
    down()  # of one whose starter was killed
    FOLDER.mkdir(mode=0o700, exist_ok=True)
    before = {"chains": chains(), "forwarding": forwarding().read_text()}
    subprocess.run(["ip", "link", "add", BRIDGE, "type", "bridge"], check=False, capture_output=True)
    subprocess.run(["ip", "addr", "add", "10.213.0.1/24", "dev", BRIDGE], check=False, capture_output=True)
    subprocess.run(["ip", "link", "set", BRIDGE, "up"], check=True)
    try:
        run_dockerd(before)
    except NoEngine:
        down()
        raise
    return {"DOCKER_HOST": f"unix://{SOCKET}"}


def run_dockerd(state: dict[str, object]) -> None:
    """Run it and wait until it answers. In mounts of its own: whatever it mounts goes with it."""
    log = (FOLDER / "dockerd.log").open("ab")
    argv = ["dockerd", "--host", f"unix://{SOCKET}", "--pidfile", str(FOLDER / "pid"), "--bridge", BRIDGE]
    argv += ["--data-root", str(FOLDER / "data"), "--exec-root", str(FOLDER / "exec"), "--log-level", "warn"]
    argv += ["--default-address-pool", f"base={POOL}0.0/16,size=24"]
    child = subprocess.Popen(
        ["setpriv", "--pdeathsig", "TERM", "unshare", "--mount", *argv],
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        start_new_session=True,
        cwd="/",
    )
    STATE.write_text(json.dumps({**state, "process": str(proc.ref(child.pid))}))
    ends = time.monotonic() + UP_S
    while time.monotonic() < ends and child.poll() is None:
        with suppress(NotReady):
            connect(SOCKET).close()
            return
        time.sleep(0.1)
    tail = (FOLDER / "dockerd.log").read_text(errors="replace").strip().splitlines()[-3:]
    raise NoEngine(f"dockerd did not come up: {' | '.join(tail)}")


def down() -> None:
    """End the engine that `start` started, if any, and remove what it made."""
    if not STATE.exists():
        return
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    state = json.loads(STATE.read_text())
    end_dockerd(state)
    forget(set(state["chains"]))
    with suppress(OSError):
        forwarding().write_text(state["forwarding"])
    shutil.rmtree(FOLDER)


def again() -> None:
    """Restart dockerd: its containers end with it, as without live-restore they do."""
    state = json.loads(STATE.read_text())
    end_dockerd(state)
    run_dockerd(state)


def end_dockerd(state: dict[str, str]) -> None:
    leader = proc.ProcessRef.parse(state["process"])
    tree = [leader, *proc.descendants(leader.pid)] if proc.state(leader) != "gone" else []
    proc.send(leader, signal.SIGTERM)
    gone(tree[:1], 20)
    for process in tree:
        with suppress(PermissionError):
            proc.send(process, signal.SIGKILL)
    gone(tree, 5)


def forget(known: set[str]) -> None:
    """Remove the chains of the packet filter that were not there before, the rules that lead to them, and every bridge.

    An engine that ends with networks leaves their bridges and rules.
    """
    made = [line.split()[1] for line in output("ip", "-o", "-4", "addr") if f" {POOL}" in line]
    for bridge in (BRIDGE, *made):
        subprocess.run(["ip", "link", "del", bridge], check=False, capture_output=True)
    for table in ("filter", "nat"):
        new = {chain for chain in CHAINS if f"{table} {chain}" not in known and f"-N {chain}" in filter_of(table)}
        for rule in filter_of(table):
            words = rule.split()
            about = {*words[2:]} & {*new, BRIDGE, *made} or any(w.startswith(POOL) for w in words) or gone_bridge(words)
            if words[0] == "-A" and words[1] not in new and about:
                iptables(table, "-D", *words[1:])
        for deed in ("-F", "-X"):
            for chain in new:
                iptables(table, deed, chain)
    if "policy FORWARD" not in known:
        iptables("filter", "-P", "FORWARD", "ACCEPT")


def chains() -> list[str]:
    there = [
        f"{table} {rule.split()[1]}" for table in ("filter", "nat") for rule in filter_of(table) if rule[:2] == "-N"
    ]
    return there + (["policy FORWARD"] if "-P FORWARD DROP" in filter_of("filter") else [])


def filter_of(table: str) -> list[str]:
    return output("iptables", "-w", "-t", table, "-S")


def gone_bridge(words: list[str]) -> bool:
    """Whether a rule is about a bridge as Docker names it that is no more."""
    return any(word.startswith("br-") and not Path("/sys/class/net", word).exists() for word in words)


def output(*argv: str) -> list[str]:
    return subprocess.run(argv, capture_output=True, text=True, check=False).stdout.splitlines()


def iptables(table: str, *words: str) -> None:
    subprocess.run(["iptables", "-w", "-t", table, *words], capture_output=True, check=False)


def forwarding() -> Path:
    return Path("/proc/sys/net/ipv4/ip_forward")


def gone(processes: list[proc.ProcessRef], within_s: float) -> None:
    ends = time.monotonic() + within_s
    while any(proc.state(process) != "gone" for process in processes) and time.monotonic() < ends:
        time.sleep(0.02)


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)  # noqa: T201


def main() -> int:
    wanted = "true" if os.environ.get("CI") == "true" else os.environ.pop("CHAOS_SETUP_DOCKER", "")
    os.environ.pop("CHAOS_SETUP_DOCKER", None)
    signal.signal(signal.SIGUSR1, lambda *_: again())
    for signum in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(signum, lambda *_: sys.exit(130))
    try:
        try:
            environment = up(allowed=wanted in ("1", "true"))
            if environment:
                environment["TEST_ENGINE"] = str(proc.ref(os.getpid()))
        except NoEngine as error:
            environment = {"TEST_NO_ENGINE": str(error)}
        return subprocess.run(sys.argv[1:], env={**os.environ, **environment}, check=False).returncode
    finally:
        down()


if __name__ == "__main__":
    sys.exit(main())
