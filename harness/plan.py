"""The dry run: the scenario's body on a recording `Run` over a paper stack. Its trace is the plan."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

from harness.decider import UNLIMITED, Decider, Limits
from harness.errors import UsageError
from harness.faults.base import name_of, params_of
from harness.health import ANSWER_S
from harness.safety import undo
from harness.safety.proc import ProcessRef
from harness.timings import Env, resolve

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from harness.api import Scenario
    from harness.faults.base import Fault
    from harness.targets import Selector, State, Target
    from harness.timings import Formula


@dataclass(frozen=True)
class PaperTarget:
    """A target on paper: it can be asked for an undo, and refuses every deed."""

    name: str
    role: str

    async def signal(self, name: str) -> None:
        """Refuse: a plan changes nothing."""
        raise UsageError(f"{self.name}: a fault's prepare() must change nothing, but it sent {name}")

    async def state(self) -> State:
        """On paper everything runs."""
        return "running"

    async def ask_to_leave(self) -> None:
        """Refuse: a plan changes nothing."""
        raise UsageError(f"{self.name}: a fault's prepare() must change nothing, but it asked it to leave")

    async def was_asked(self) -> bool:
        """On paper nobody is asked."""
        return False

    def undo_start(self) -> undo.Step:
        """As the real one."""
        return undo.start(self.name)

    def undo_signal(self, name: str) -> undo.Step:
        """As the real one; the process is known only at injection."""
        return undo.signal(ProcessRef(0, 0), name)


@dataclass(frozen=True)
class PaperReplica(PaperTarget):
    """A replica on paper: it also has a link to the database, and a processor."""

    async def slow_database(self, name: str, rtt_ms: int) -> None:
        """Refuse: a plan changes nothing."""
        raise UsageError(f"{self.name}: a fault's prepare() must change nothing, but it added {rtt_ms} ms as {name}")

    async def database_delay_ms(self, name: str) -> int:  # noqa: ARG002  # the shape of the capability
        """On paper nothing is slow."""
        return 0

    async def throttle_cpu(self, percent: int) -> None:
        """Refuse: a plan changes nothing."""
        raise UsageError(f"{self.name}: a fault's prepare() must change nothing, but it throttled to {percent} %")

    async def cpu_percent(self) -> float:
        """On paper nothing is slow."""
        return 100.0

    def undo_throttle_cpu(self) -> list[undo.Step]:
        """As the real one, where there are cgroups; the path is known only at injection."""
        return [undo.cgroup_remove(Path(f"/chaos-{self.name}"))]

    def undo_slow_database(self, name: str) -> list[undo.Step]:
        """As the real one; the address is known only at injection."""
        return [undo.toxic_delete("http://0.0.0.0:0", self.name, f"{name}-{way}") for way in ("up", "down")]


def paper_targets(replicas: int) -> list[Target]:
    """Names and roles that every stack of this size has."""
    coders = [PaperReplica(f"coder-{number}", "coder") for number in range(1, replicas + 1)]
    return [
        *coders,
        PaperTarget("postgres", "database"),
        PaperTarget("toxiproxy", "proxy"),
        PaperTarget("balancer", "balancer"),
    ]


@dataclass
class PlanRun:
    """A `Run` that only writes down what would happen."""

    decider: Decider
    env: Env
    hold_s: float | None
    steps: list[dict[str, Any]] = field(default_factory=list)

    @property
    def replicas(self) -> int:
        """As planned."""
        return self.env.replicas

    async def baseline(self) -> None:
        """Write it down."""
        self.steps.append({"do": "baseline"})

    @asynccontextmanager
    async def fault(self, fault: Fault, *, at: Selector) -> AsyncIterator[list[Target]]:
        """Write down the fault with its targets and undo."""
        key, chosen = self.decider.choose(fault, at)
        steps = [step for target in chosen for step in await fault.prepare(target)]
        if not steps:
            raise UsageError(f"{name_of(fault)}: prepare() gives no undo; a fault without one cannot be run")
        self.steps.append(
            {
                "do": "fault",
                "fault": key,
                "name": name_of(fault),
                "at": at.text,
                "targets": [t.name for t in chosen],
                "controls": self.decider.controls(chosen),
                "params": params_of(fault),
                "shows": fault.shows.text,
                "undo": [step.do for step in steps],
            }
            | ({"fronts": fronts} if (fronts := self.decider.fronts(chosen)) else {})
        )
        yield chosen
        self.decider.undone(key)
        self.steps.append({"do": "undo", "fault": key})

    async def hold(self, seconds: Formula | float | None = None) -> None:
        """Write it down."""
        self.steps.append({"do": "hold", "seconds": round(hold_seconds(seconds, self.hold_s, self.env), 3)})

    async def ask_health(self, *, until_quiet_s: float = 0.0) -> None:
        """Write it down, with the longest that it may take."""
        self.steps.append({"do": "ask", "again_s": until_quiet_s, "seconds": until_quiet_s + ANSWER_S})

    async def settle(self) -> None:
        """Write it down."""
        self.steps.append({"do": "settle"})

    def note(self, text: str) -> None:
        """Write it down."""
        self.steps.append({"do": "note", "text": text})


DEFAULT_HOLD_S = 10.0


def hold_seconds(asked: Formula | float | None, setting: float | None, env: Env) -> float:
    """How long to hold: the setting, else what the scenario asks for, else the default. Seconds."""
    if setting is not None:
        return setting
    return DEFAULT_HOLD_S if asked is None else resolve(asked, env)


async def dry_run(
    scenario: Scenario, *, seed: int, env: Env, hold_s: float | None, limits: Limits = UNLIMITED
) -> list[dict[str, Any]]:
    """Run the body on paper; raise UsageError for what could not be run, or may not be."""
    decider = Decider(paper_targets(env.replicas), Random(seed), limits, outage=scenario.outage)
    run = PlanRun(decider, env, hold_s)
    await scenario.body(run)
    if not run.decider.count:
        raise UsageError(f"scenario {scenario.name}: it injects no fault, so it can prove nothing")
    return run.steps


def render_plan(scenario: Scenario, steps: Sequence[dict[str, Any]], seed: int, env: Env) -> str:
    """Return the plan as people read it."""
    lines = [
        f"{scenario.name}: {scenario.promise}",
        f"seed {seed}, {env.replicas} replicas, time scale {env.scale:g}",
        "",
    ]
    for number, step in enumerate(steps, 1):
        match step["do"]:
            case "fault":
                share = f"{len(step['targets'])} of {len(step['targets']) + len(step['controls'])}"
                beside = f"not on {', '.join(step['controls']) or 'nobody'}"
                if fronts := step.get("fronts"):
                    beside = f"and {', '.join(fronts)} answers that nobody is there"
                text = (
                    f"inject    {step['name']} on {', '.join(step['targets'])} ({step['at']}, {share}); "
                    f"proof: {step['shows']} there, {beside}; undo: {', '.join(step['undo'])}"
                )
            case "hold":
                text = f"hold      {step['seconds']:g} s"
            case "ask":
                again = f", again for {step['again_s']:g} s while it warns" if step["again_s"] else ""
                text = f"ask       every replica for a fresh health report{again}"
            case "undo":
                text = f"undo      {step['fault']}, wait until healed"
            case "note":
                text = f"note      {step['text']}"
            case other:
                text = other
        lines.append(f"{number:2}  {text}")
    from harness.objectives.base import Limit, to_json  # noqa: PLC0415 - keeps the plan free of objectives until drawn

    if scenario.outage:
        lines += ["", "outage: this scenario may leave no healthy replica while a fault is on; it says so itself"]
    lines += ["", "objectives"]
    for objective in scenario.objectives:
        params = to_json(objective, env)["params"]
        shown = [f"{k}={Limit(**v) if isinstance(v, dict) else v}" for k, v in params.items() if v is not None]
        lines.append(f"    {objective.name}  {', '.join(shown)}")
    faults = sum(step["do"] == "fault" for step in steps)
    lines += [
        "",
        f"Plan: {faults} fault{'s' * (faults != 1)}, nothing was changed. A run of this seed does this or ends: nothing is decided later.",
    ]
    return "\n".join(lines) + "\n"


def longest_fault_s(steps: list[dict[str, Any]], inside_s: float) -> float:
    """Seconds that a fault may rightly stay on after its own proof: all holds, and what is asked and done while it is on.

    `inside_s` is the longest that proof and heal of one fault may take, for each fault inside it.
    """
    holds = sum(step["seconds"] for step in steps if step["do"] == "hold")
    on: dict[str, float] = {}
    most = 0.0
    for step in steps:
        if step["do"] == "fault":
            on = {key: spent + inside_s for key, spent in on.items()} | {step["fault"]: 0.0}
        elif step["do"] == "ask":
            on = {key: spent + step["seconds"] for key, spent in on.items()}
        elif step["do"] == "undo":
            most = max(most, on.pop(step["fault"]))
    return float(holds) + most
