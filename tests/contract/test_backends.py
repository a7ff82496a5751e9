from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from meter_files import check_records, enough
from stacks import SCALE, Lab, parameters

from harness import bootstrap, fingerprint, health, truth
from harness import events as ev
from harness.config import Settings
from harness.errors import StackError
from harness.loadlog import totals
from harness.records import Outcome, read_slots
from harness.safety import proc
from harness.stack import Context, LaneSpec, LoadRequest, MeterPlan, NoAnswer, WatcherSpec
from harness.targets import Freezable, Killable, Target
from harness.tidy import LEFT, tidy
from harness.timeline import SLOTS

if TYPE_CHECKING:
    from harness.stack import Stack

SECOND = 1_000_000_000


@pytest.fixture(params=parameters())
def lab(request: pytest.FixtureRequest, tmp_path: Path) -> Lab:
    (tmp_path / "run").mkdir()
    (tmp_path / "state").mkdir()
    return Lab(request.param, tmp_path / "run", tmp_path / "state")


def target(stack: Stack, name: str) -> Any:
    return next(t for t in stack.targets if t.name == name)


def later(seconds: int) -> int:
    """A moment on the loop's clock, in nanoseconds."""
    return int(asyncio.get_running_loop().time() * 1e9) + seconds * SECOND


async def until(victim: Any, state: str) -> None:
    """Wait for a target's state."""
    with anyio.fail_after(5):
        while await victim.state() != state:  # noqa: ASYNC110 - a kernel sets no event
            await anyio.sleep(0.01)


async def answers(stack: Stack, name: str, within_s: float = 20) -> bool:
    """Whether a target answers well within a time."""
    with anyio.move_on_after(within_s):
        while True:
            try:
                if (await stack.api(name).call("GET", "/buildinfo")).ok:
                    return True
            except NoAnswer:
                pass
            await anyio.sleep(0.05)
    return False


def test_names_roles_addresses_and_the_api(lab: Lab) -> None:
    async def body(stack: Stack) -> None:
        assert stack.time_scale == SCALE
        assert stack.version
        roles = {t.name: t.role for t in stack.targets}
        assert roles == {
            **{f"coder-{n}": "coder" for n in (1, 2, 3)},
            "postgres": "database",
            "toxiproxy": "proxy",
            "balancer": "balancer",
        }
        assert all(isinstance(t, Target) for t in stack.targets)
        assert [row["name"] for row in stack.topology()] == [t.name for t in stack.targets]
        for row in stack.topology():
            at = stack.address(row["name"])
            assert (at.host, at.port, roles[row["name"]]) == (row["host"], row["port"], row["role"])
        assert len({stack.address(name).port for name in roles}) == len(roles)
        for name in ("coder-1", "coder-2", "coder-3", "balancer"):
            answer = await stack.api(name).call("GET", "/buildinfo")
            assert answer.ok
            assert answer.body["version"] == stack.version
            assert (answer.upstream > 0) == (name == "balancer"), "only the balancer names who answered"
            assert (await stack.api(name).call("GET", "/users/me")).status == 401
            await stack.ready(name) if name != "balancer" else None

    lab.run(body)


def test_the_balancer_takes_turns(lab: Lab) -> None:
    async def body(stack: Stack) -> None:
        seen = {(await stack.api("balancer").call("GET", "/buildinfo")).upstream for _ in range(12)}
        assert seen == {stack.address(f"coder-{n}").port for n in (1, 2, 3)}

    lab.run(body)


def test_kill_and_start_again(lab: Lab) -> None:
    async def body(stack: Stack) -> None:
        victim = target(stack, "coder-2")
        assert isinstance(victim, Killable)
        assert await victim.state() == "running"
        await stack.arm("f1", later(600), [victim.undo_start()])
        await victim.signal("KILL")
        await until(victim, "gone")
        await victim.signal("KILL")  # gone already is no error
        with pytest.raises(NoAnswer):
            await stack.api("coder-2").call("GET", "/buildinfo")
        assert await answers(stack, "coder-1", 5)
        outcomes = await stack.undo("f1")
        assert [o.ok for o in outcomes] == [True]
        await stack.ready("coder-2")
        assert await victim.state() == "running"
        assert await answers(stack, "coder-2", 5)
        with pytest.raises(StackError, match="'f1' is not armed"):
            await stack.undo("f1")
        await stack.arm("f1", later(600), [victim.undo_start()])
        assert [o.ok for o in await stack.undo("f1")] == [True], "starting what runs is fine"
        assert await victim.state() == "running"
        assert any(isinstance(e, ev.ProcessExited) and e.name == "coder-2" for e in lab.events)

    lab.run(body)


def test_the_health_report_of_a_replica_is_about_its_own_link(lab: Lab) -> None:
    async def body(stack: Stack) -> None:
        world = await bootstrap.bootstrap(stack.api("balancer"), "contract", users=1, workspaces=1)
        seen: list[ev.Event] = []

        def ms(report: ev.HealthReport) -> int:
            assert report.latency_ms is not None, report
            return report.latency_ms

        async def ask() -> dict[str, ev.HealthReport]:
            seen.clear()
            await health.ask(stack, world.admin, ["coder-1", "coder-2"], seen.append, lambda: later(0))
            return {e.target: e for e in seen if isinstance(e, ev.HealthReport)}

        victim = target(stack, "coder-1")
        await stack.arm("f1", later(600), victim.undo_slow_database("far"))
        await victim.slow_database("far", 60)
        said = await ask()
        assert ms(said["coder-1"]) >= 60 > ms(said["coder-2"])
        await stack.undo("f1")
        said |= {f"{name}, again": report for name, report in (await ask()).items()}
        assert ms(said["coder-1, again"]) < 60
        for report in said.values():
            assert report.why == ""
            assert report.threshold_ms == 15
            assert (report.FAR in report.codes) == (ms(report) >= 15)

    lab.run(body)


def test_freeze_and_thaw(lab: Lab) -> None:
    async def body(stack: Stack) -> None:
        victim = target(stack, "coder-1")
        assert isinstance(victim, Freezable)
        await stack.arm("f1", later(600), [victim.undo_signal("CONT")])
        await victim.signal("STOP")
        await until(victim, "frozen")
        with anyio.move_on_after(1.0) as scope:
            await stack.api("coder-1").call("GET", "/buildinfo")
        assert scope.cancelled_caught, "a frozen replica answers nobody, and refuses nobody"
        assert [o.ok for o in await stack.undo("f1")] == [True]
        await until(victim, "running")
        assert await answers(stack, "coder-1", 5)

    lab.run(body)


def test_a_step_for_an_earlier_life_touches_no_later_one(lab: Lab) -> None:
    async def body(stack: Stack) -> None:
        victim = target(stack, "coder-3")
        old = victim.undo_signal("KILL")
        await stack.arm("f1", later(600), [victim.undo_start()])
        await victim.signal("KILL")
        await until(victim, "gone")
        await stack.undo("f1")
        await stack.ready("coder-3")
        await stack.arm("f2", later(600), [old])
        assert [o.ok for o in await stack.undo("f2")] == [True], "gone is fine"
        assert await victim.state() == "running"

    lab.run(body)


def test_the_dead_mans_switch_undoes_by_itself(lab: Lab) -> None:
    async def body(stack: Stack) -> None:
        victim = target(stack, "coder-1")
        await stack.arm("f1", later(1), [victim.undo_signal("CONT")])
        await victim.signal("STOP")
        with anyio.fail_after(10):
            while await victim.state() == "frozen":  # noqa: ASYNC110 - a backend may go on to take the stack down
                await anyio.sleep(0.01)

    lab.run(body)


def test_meter_load_and_truth(lab: Lab) -> None:
    async def body(stack: Stack) -> None:
        world = await bootstrap.bootstrap(stack.api("balancer"), "contract", users=4, workspaces=2)
        plan = MeterPlan(
            lanes=[
                LaneSpec(0, "balancer", "balancer", "fresh", "/api/v2/buildinfo", 20.0),
                LaneSpec(1, "coder-1", "coder", "db", "/api/v2/users/me", 10.0, world.admin),
                LaneSpec(2, "coder-2", "coder", "pinned", "/api/v2/buildinfo", 10.0),
            ],
            watchers=[WatcherSpec(f"watch-{n}", world.workspaces[n % 2], world.admin) for n in range(4)],
        )
        load = LoadRequest("dashboard", 4, world.user_tokens, seed=7)
        async with stack.meter(plan) as meter, stack.load(load) as files:
            live: dict[str, Any] = {}
            with anyio.fail_after(30):
                while live.get("slots", 0) < 100 or live.get("live", 0) < 4 or not enough(lab.directory, files):
                    live = dict(await meter.tick())
            assert set(live) >= {"t_ns", "slots", "rows", "lanes", "live", "open", "lateness_p99_ms", "stalls"}
            assert live["slots"] == sum(sum(tally) for tally in live["lanes"].values())
            written = len(list(read_slots(lab.directory / SLOTS)))
            assert written >= live["slots"], "the counters never run ahead of the files"
        check_records(lab.directory, plan, stack)
        counted = totals(lab.directory / name for name in files)
        assert counted.started >= 4
        assert counted.outcomes[Outcome.OK] >= 4
        assert counted.torn == 0
        own = await bootstrap.create_workspace(stack.api("coder-1"), world.user_tokens[0], world.template, "of-a-user")
        assert own not in world.workspaces, "a login's cookie must not follow us into another user's write"
        by_api = await truth.by_api(stack.api("coder-3"), world.admin, world.workspaces, "coder-3")
        assert all(rows == {"1": ["start", 1]} for rows in by_api.builds.values())
        assert set(by_api.builds) == set(world.workspaces)
        by_sql = await truth.by_sql(stack, world.workspaces)
        assert by_sql is None or by_sql.builds == by_api.builds

    lab.run(body)


def test_a_look_tells_what_faults_do_and_forgets_them(lab: Lab) -> None:
    async def body(stack: Stack) -> None:
        victim = target(stack, "coder-2")
        before = await stack.look()
        assert set(before.processes) == {t.name for t in stack.targets}
        assert set(before.states.values()) == {"running"}
        assert list(before.held) == []
        assert fingerprint.of_processes(before, await stack.look()) is None
        steps = [*victim.undo_slow_database("f1"), *victim.undo_throttle_cpu(), victim.undo_signal("CONT")]
        await stack.arm("f1", later(600), steps)
        assert "f1" in " ".join((await stack.look()).held)
        await victim.slow_database("f1", 20)
        await victim.throttle_cpu(50)
        held = (await stack.look()).held
        assert len(held) > 2, held
        assert any("coder-2" in line for line in held)
        assert all(o.ok for o in await stack.undo("f1"))
        with anyio.fail_after(5):
            while (await stack.look()).held:  # noqa: ASYNC110 - a helper takes a moment to end
                await anyio.sleep(0.02)
        assert fingerprint.of_processes(before, await stack.look()) is None
        await stack.arm("f2", later(600), [victim.undo_start()])
        await victim.signal("KILL")
        await until(victim, "gone")
        assert (await stack.look()).states["coder-2"] == "gone"
        await stack.undo("f2")
        await stack.ready("coder-2")
        after = await stack.look()
        assert "coder-2 is " in (fingerprint.of_processes(before, after) or "")
        assert fingerprint.of_processes(before, after, {"coder-2"}) is None

    lab.run(body)


def test_a_stack_serves_another_run_as_it_served_the_first(lab: Lab) -> None:
    second, seen = lab.directory.with_name("second"), list[ev.Event]()
    second.mkdir()

    async def body(stack: Stack) -> None:
        api = stack.api("balancer")
        world = await bootstrap.bootstrap(api, "first00", users=3, workspaces=2)
        assert await fingerprint.of_service(stack, world.admin) is None
        left = await stack.sql(LEFT, "first00", world.owner.username)
        assert left is None or len(left) == 2 + 3 + 1 + 3, "workspaces of ours, of the users, the template, the users"
        assert await tidy(stack, world.admin, world.owner, "first00") == "removed 5 workspaces, 1 template, 3 users"
        assert not await stack.sql(LEFT, "first00", world.owner.username)
        assert (await api.call("GET", "/users/me", token=world.admin)).status == 401, "its session is over"
        assert (await api.call("GET", "/users/me", token=world.user_tokens[0])).status == 401
        looked, told = await stack.look(), len(lab.events)
        settings = Settings()
        await stack.turn(Context("second0", second, seen.append, lambda _: None, settings.cache_dir, lab.state))
        assert fingerprint.of_processes(looked, await stack.look()) is None
        made = {e.name: e.ref for e in seen if isinstance(e, ev.ResourceCreated)}
        assert looked.processes.items() <= made.items(), "the second run's journal knows its processes too"
        again = await bootstrap.bootstrap(api, "second0", users=2, workspaces=1, owner=world.owner)
        assert again.owner == world.owner
        lane = LaneSpec(0, "balancer", "balancer", "fresh", "/api/v2/buildinfo", 20.0)
        plan = MeterPlan([lane], [WatcherSpec("watch-0", again.workspaces[0], again.admin)])
        load = LoadRequest("dashboard", 2, again.user_tokens, seed=7)
        async with stack.meter(plan) as meter, stack.load(load) as files:
            with anyio.fail_after(30):
                while (await meter.tick()).get("live", 0) < 1 or not enough(second, files):
                    pass
        victim = target(stack, "coder-2")
        await stack.arm("f1", later(600), [victim.undo_start()])
        await victim.signal("KILL")
        await until(victim, "gone")
        assert [o.said for o in await stack.undo("f1") if not o.ok] == []
        await stack.ready("coder-2")
        assert [e.name for e in seen if isinstance(e, ev.ProcessExited) if e.name == "coder-2"] == ["coder-2"]
        assert len(lab.events) == told, "nothing more is told to the run that is over"
        assert await fingerprint.of_service(stack, again.admin) is None

    lab.run(body)
    assert (second / SLOTS).stat().st_size
    assert not (lab.directory / SLOTS).exists()
    assert (second / "teardown.json").read_text() == '{"left": []}\n'
    assert not (lab.directory / "teardown.json").exists()
    assert not [p for p in lab.state.rglob("*") if p.is_file() and "contract" in p.name]
    if (lab.directory / "logs").exists():
        mine, others = ((d / "logs" / "coder-2.log").read_text() for d in (lab.directory, second))
        assert mine.count("started HTTP listener") == 1
        assert others.startswith("--- run second begins here")
        assert others.count("started HTTP listener") == 1, "started again in the second run: its log is there"


@pytest.mark.parametrize("how", ["in peace", "after a failure"])
def test_leaving_leaves_nothing_behind(lab: Lab, how: str) -> None:
    async def body(stack: Stack) -> None:
        await target(stack, "coder-1").signal("STOP")
        await target(stack, "coder-2").signal("KILL")
        if how != "in peace":
            raise LookupError("as wanted")

    if how == "in peace":
        lab.run(body)
    else:
        with pytest.raises(LookupError, match="as wanted"):
            lab.run(body)
    made = [e for e in lab.events if isinstance(e, ev.ResourceCreated)]
    assert made, "a backend says what it makes"
    for resource in made:
        if resource.what == "process":
            assert proc.state(proc.ProcessRef.parse(resource.ref)) == "gone", resource
        elif resource.what == "folder":
            assert not Path(resource.ref).exists(), resource
    assert not [p for p in lab.state.rglob("*") if p.is_file() and "contract" in p.name]
    assert (lab.directory / "teardown.json").read_text() == '{"left": []}\n'
