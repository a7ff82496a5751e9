"""However a run in containers ends, within half a minute nothing of it is on this machine or on the engine."""

from __future__ import annotations

import json
import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any

import crash_engine
import crash_lab as lab
import pytest
from crash_lab import FREEZE, Case, Result
from engine_marks import needs_engine

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator
    from concurrent.futures import Future
    from pathlib import Path

pytestmark = [pytest.mark.e2e, needs_engine()]

LATENCY = str(lab.HERE / "crash_scenario_latency.py")
HERE = {"stack": "compose", "offline": "true", "replicas": "3"}
LONG = HERE | {"hold": "20s"}
PROVEN = "fault.proven"
KILL = ["kill"]


def case(name: str, *acts: dict[str, Any], scenario: str = lab.KILL, **more: Any) -> Case:
    settings = {**HERE, **more.pop("settings", {})}
    return Case(name, list(acts), scenario=scenario, settings=settings, engine=True, **more)


CUT = {
    "project": case("project", {"kind": "resource.created", "name": "compose", "do": KILL}),
    "containers": case("containers", {"kind": "resource.created", "name": "coder-2", "do": KILL}),
    "ready": case("ready", {"kind": "stack.ready", "do": KILL}),
    "injected": case("injected", {"kind": "fault.injected", "do": KILL}),
    "frozen": case("frozen", {"kind": PROVEN, "do": KILL}, scenario=FREEZE),
    "far": case("far", {"kind": PROVEN, "do": KILL}, scenario=LATENCY),
    "undone": case("undone", {"kind": "fault.undone", "do": KILL}),
}
KEEPER = case("keeper", {"kind": PROVEN, "do": ["keeper"]}, settings=LONG)
BOTH = case("both", {"kind": PROVEN, "do": ["keeper", "kill"]}, settings=LONG, after=("sweep",))
CTRL_C = case("ctrl-c", {"kind": PROVEN, "do": ["group:INT"]}, settings=LONG)
CTRL_C_START = case("ctrl-c-at-start", {"kind": "resource.created", "name": "compose", "do": ["group:INT"]})
HUNG = case("hung-toxiproxy", {"kind": PROVEN, "do": ["docker:pause:proxy"]}, scenario=LATENCY)
VANISHED = case("vanished", {"kind": PROVEN, "do": ["docker:remove:balancer"]})
ALL = [*CUT.values(), KEEPER, BOTH, CTRL_C, CTRL_C_START, HUNG, VANISHED]

Results = dict[str, "Future[Result]"]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Results]:
    lab.warm_images()
    with lab.played(ALL, tmp_path_factory.mktemp("compose")) as results:
        yield results


@pytest.fixture
def foreign() -> Iterator[dict[str, Any]]:
    """Somebody else's container on the same engine, with a network and a volume."""
    api = crash_engine.client()
    labels = {crash_engine.PROJECT: "theirs"}
    image = lab.warm_images()["coder"]
    network = api.create_network("theirs", labels=labels)
    volume = api.create_volume("theirs", labels=labels)
    made = api.create_container(image, entrypoint=["sleep"], command=["600"], labels=labels)
    api.start(made)
    yield {"api": api, "id": made["Id"], "parts": crash_engine.parts_of("theirs")}
    api.remove_container(made, force=True)
    api.remove_network(network["Id"])
    api.remove_volume(volume["Name"], force=True)
    api.close()


def of(results: Results, one: Case) -> Result:
    """The result of a case; that nothing is left holds for every one of them."""
    return checked(results[one.name].result())


def checked(result: Result) -> Result:
    sys.stderr.write(f"{result.told()}\n")
    assert not result.hung, "it never ended"
    assert result.left == []
    assert len(result.acted) == len(result.case.acts), "it never came to the point"
    assert "Traceback" not in result.err
    return result


@pytest.mark.parametrize("name", CUT)
def test_killed_right_after_an_event(results: Results, name: str) -> None:
    result = of(results, CUT[name])
    assert result.code == -signal.SIGKILL
    assert result.judged()[1]["status"] == "INCONCLUSIVE"
    assert result.command("sweep")[0] == 0
    assert result.registrations == []


def test_a_run_that_loses_its_keeper_clears_up_itself(results: Results) -> None:
    result = of(results, KEEPER)
    assert (result.code, result.judged()[1]["status"]) == (3, "INCONCLUSIVE")
    assert result.registrations == []


def test_what_a_run_leaves_that_dies_with_its_keeper_is_swept_aloud(results: Results) -> None:
    result = of(results, BOTH)
    code, said = result.after
    assert code == 0, said
    assert "parts of chaos-" in said
    assert "removed its registration" in said


@pytest.mark.parametrize("one", [CTRL_C, CTRL_C_START], ids=["in the fault", "while it comes up"])
def test_ctrl_c_ends_it_and_clears_up(results: Results, one: Case) -> None:
    result = of(results, one)
    assert result.code == 130
    assert result.registrations == []


@pytest.mark.parametrize("one", [HUNG, VANISHED], ids=["a Toxiproxy that hangs", "a container that vanishes"])
def test_what_is_lost_in_a_fault_stops_no_undo(results: Results, one: Case) -> None:
    result = of(results, one)
    assert result.judged()[1]["status"] != "PASS"
    assert result.registrations == []


def test_an_engine_that_restarts_in_a_fault(foreign: dict[str, Any], tmp_path: Path) -> None:
    if crash_engine.owner() is None:
        pytest.skip("only an engine of the tests' own is restarted: CHAOS_SETUP_DOCKER=1 make test")

    def outside(popen: subprocess.Popen[bytes], folder: Path) -> None:
        lab.eventually(lambda: (folder / "acted").exists() or popen.poll() is not None, "the fault is on", 120)
        crash_engine.restart()

    one = case("restart", {"kind": PROVEN, "do": []}, settings={**LONG, "hold": "10s"}, outside=outside)
    result = checked(lab.play(one, tmp_path))
    assert result.judged()[1]["status"] != "PASS"
    assert result.registrations == []
    assert crash_engine.parts_of("theirs") == foreign["parts"]


def test_a_foreign_project_beside_it_is_left_alone(foreign: dict[str, Any], tmp_path: Path) -> None:
    before = foreign["api"].inspect_container(foreign["id"])["State"]
    checked(lab.play(CUT["injected"], tmp_path))
    assert foreign["api"].inspect_container(foreign["id"])["State"] == before
    assert crash_engine.parts_of("theirs") == foreign["parts"]


@pytest.mark.soak
def test_killed_after_each_single_event(tmp_path: Path) -> None:
    lab.warm_images()
    each = [case(f"event-{seq}", {"seq": seq, "do": KILL}) for seq in range(56)]
    with ThreadPoolExecutor(lab.AT_ONCE) as pool:
        for result in pool.map(partial(lab.play, base=tmp_path), each):
            sys.stderr.write(f"{json.dumps(result.acted)} {result.told()}\n")
            assert (result.hung, result.left) == (False, [])
