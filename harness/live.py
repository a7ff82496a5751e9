"""The real `Run`: baseline, faults with journal and proof, hold, settle. One instance lives as long as a body runs."""

from __future__ import annotations

from bisect import insort
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import anyio

from harness import events as ev
from harness import health
from harness.errors import HarnessError
from harness.faults.base import delivered, name_of, params_of
from harness.folds import AllStable, Every, Serving, Stable, p95_limit
from harness.plan import hold_seconds
from harness.receipts import floors_of, healed_of, proof_of
from harness.records import UNDECIDED, Outcome
from harness.series import SECOND, quantile

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from harness.api import Scenario
    from harness.config import Settings
    from harness.decider import Decider
    from harness.faults.base import Fault
    from harness.observer import Observer
    from harness.records import Slot
    from harness.stack import LaneSpec, Stack
    from harness.targets import Selector, Target
    from harness.timings import Env, Formula

HEAL_S = 45.0
_MARGIN_S = 15.0
_ERRORS = 0.01


class RunOver(HarnessError):  # noqa: N818 - it ends a body early; it is no error
    """The run cannot prove anything more; what it has is kept, undone and judged."""


class LiveRun:
    """See `harness.api.Run`.

    `now_ns` is the run's clock, `emit` its event log, `say` a line for people, `held_s` the
    seconds that one of its faults may stay on by plan, after its proof, `token` an owner's.
    """

    def __init__(
        self,
        *,
        stack: Stack,
        observer: Observer,
        decider: Decider,
        lanes: Sequence[LaneSpec],
        settings: Settings,
        scenario: Scenario,
        env: Env,
        held_s: float,
        token: str,
        emit: Callable[[ev.Event], Any],
        say: Callable[[str], None],
        now_ns: Callable[[], int],
    ) -> None:
        self.stack, self.observer, self.decider, self.settings = stack, observer, decider, settings
        self.scenario, self.env, self.held_s = scenario, env, held_s
        self.emit, self.say, self.now_ns = emit, say, now_ns
        self._token = token
        self.front = [lane for lane in lanes if lane.role == "balancer" and lane.kind in ("fresh", "db")]
        self.lanes = {(lane.target, lane.kind): lane.id for lane in lanes}
        self.hurt: list[str] = []
        self.limits: dict[int, int] = {}
        self.calm: dict[int, list[int]] = {}
        """Sorted latencies in ns of every lane's good answers in the baseline."""
        self._floors: dict[str, dict[str, int]] = {}
        self._undone_ns = 0

    @property
    def replicas(self) -> int:
        """As the plan knew them."""
        return self.env.replicas

    async def baseline(self) -> None:
        """Measure the calm stack; RunOver when it is not calm."""
        self._phase("baseline")
        self.observer.keep()
        await anyio.sleep(self.settings.baseline)
        await self.observer.tick()
        slots = self.observer.take()
        for slot in slots:
            if slot.outcome == Outcome.OK:
                insort(self.calm.setdefault(slot.lane, []), slot.latency_ns)
        why = self._judge_baseline(slots)
        if why:
            self.emit(ev.BaselineBroken(why=why))
            raise RunOver(why)

    def _judge_baseline(self, slots: Sequence[Slot]) -> str | None:
        for lane in self.front:
            own = [s for s in slots if s.lane == lane.id and s.outcome not in UNDECIDED]
            bad = sum(s.outcome != Outcome.OK for s in own)
            if len(own) < self.settings.baseline * lane.rate_hz * 0.5:
                return f"the {lane.kind} lane has {len(own)} slots, too few"
            if bad > _ERRORS * len(own):
                return f"{bad} of {len(own)} slots of the {lane.kind} lane are bad without any fault"
            self.limits[lane.id] = p95_limit(
                quantile(sorted(s.latency_ns for s in own if s.outcome == Outcome.OK), 0.95)
            )
        return None

    @asynccontextmanager
    async def fault(self, fault: Fault, *, at: Selector) -> AsyncIterator[list[Target]]:
        """Prepare, journal, inject, prove; undo and prove healed whatever happens in between."""
        if not self.limits:
            await self.baseline()
        key, targets = self.decider.choose(fault, at)
        controls, fronts = self.decider.controls(targets), self.decider.fronts(targets)
        await self._prepare(key, fault, targets, controls, fronts)
        self._phase("fault")
        try:
            await self._inject(key, fault, targets, controls, fronts)
            yield targets
        finally:
            with anyio.CancelScope(shield=True):
                await self._undo(key)
        await self._heal(key, fault, targets)
        self.decider.undone(key)

    async def _prepare(
        self, key: str, fault: Fault, targets: Sequence[Target], controls: list[str], fronts: list[str]
    ) -> None:
        steps = [step for target in targets for step in await fault.prepare(target)]
        if not steps:
            raise HarnessError(f"{name_of(fault)}: prepare() gave no undo; nothing was injected")
        # The longest a fault may rightly stay on: proof, hold, and room for a slow machine.
        self._floors[key] = floors_of(fault.shows.to_json(), self.calm)
        revert_by = self.now_ns() + int((self.settings.prove + self.held_s + _MARGIN_S) * SECOND)
        self.emit(
            ev.FaultPrepared(
                fault=key,
                name=name_of(fault),
                targets=[t.name for t in targets],
                controls=controls,
                params=params_of(fault),
                shows=fault.shows.to_json(),
                undo=[step.to_json() for step in steps],
                revert_by_ns=revert_by,
                floors=self._floors[key],
                fronts=fronts,
            )
        )
        self.hurt += [t.name for t in targets]
        await self.stack.arm(key, revert_by, steps)

    async def _inject(
        self, key: str, fault: Fault, targets: Sequence[Target], controls: list[str], fronts: list[str]
    ) -> None:
        self.say(f"inject {name_of(fault)} on {', '.join(t.name for t in targets)}")
        before = self.now_ns()
        for target in targets:
            await fault.inject(target)
        self.emit(ev.FaultInjected(fault=key, before_ns=before, after_ns=self.now_ns()))
        shows = fault.shows
        names, floors = [t.name for t in targets], self._floors[key]
        proof = proof_of(shows.to_json(), self.lanes, names, controls, before, floors, fronts)
        seen = await self.observer.wait(proof, self.settings.prove) if proof.targets else False
        effective = await self._effective(fault, targets, before + int(self.settings.prove * SECOND))
        reached = all(effective) or all([await delivered(fault, target) for target in targets])
        wrong = "asked, not as wanted" if reached else "not as wanted"
        states = ", ".join(f"{t.name} {'as wanted' if ok else wrong}" for t, ok in zip(targets, effective, strict=True))
        if seen and reached:
            self.emit(ev.FaultProven(fault=key, witness=f"{shows.text}: {proof.seen}", state=states))
            beside = f"{', '.join(fronts)} answers that nobody is there" if fronts else "the others do not"
            self.say(f"proven: {shows.text} on its own address, {beside}")
            return
        why = f"{proof.seen or 'no probe lane watches it'}; its own state: {states}"
        # Only what was asked of a target can be refused by it; anything else that does not show was not done.
        refused = reached and not all(effective) and proof.apart
        self.emit(ev.FaultUnproven(fault=key, seen=why, delivered=refused))
        if not refused:
            raise RunOver(f"not proven: {why}")
        self.say(f"delivered, but not done by {', '.join(t.name for t in targets)}: {why}")

    async def _effective(self, fault: Fault, targets: Sequence[Target], deadline_ns: int) -> list[bool]:
        """Ask the targets' own state until it is as wanted; an orderly end takes longer than the path shows."""
        while True:
            states = [await fault.effective(target) for target in targets]
            if all(states) or self.now_ns() >= deadline_ns:
                return states
            await self.observer.tick()

    async def _undo(self, key: str) -> None:
        before = self.now_ns()
        self.observer.keep()
        outcomes = await self.stack.undo(key)
        self._undone_ns = before
        rows = [{"do": o.step.do, "ok": o.ok, "said": o.said} for o in outcomes]
        self.emit(ev.FaultUndone(fault=key, before_ns=before, after_ns=self.now_ns(), outcomes=rows))
        self.say(f"undone: {'; '.join(o.said for o in outcomes)}")
        self._phase("recovery")

    async def _heal(self, key: str, fault: Fault, targets: Sequence[Target]) -> None:
        fold = healed_of(
            fault.shows.to_json(), self.lanes, [t.name for t in targets], self._undone_ns, self._floors[key]
        )
        if await self.observer.wait(fold, HEAL_S):
            self.emit(ev.FaultHealed(fault=key, witness=fold.seen))
            return
        self.emit(ev.FaultUnhealed(fault=key, seen=fold.seen))
        raise RunOver(f"not healed: {fold.seen}")

    async def hold(self, seconds: Formula | float | None = None) -> None:
        """Keep the fault on."""
        await anyio.sleep(hold_seconds(seconds, self.settings.hold, self.env))

    async def ask_health(self, *, until_quiet_s: float = 0.0) -> None:
        """Ask those that are not down; every report is kept, also of those that are asked again."""
        names = [t.name for t in self.stack.targets if t.role == "coder" and t.name not in self.decider.down]
        self.say(f"ask {', '.join(names)} for a fresh health report")
        deadline_ns = self.now_ns() + int(until_quiet_s * SECOND)
        while names := await health.ask(self.stack, self._token, names, self.emit, self.now_ns):
            if self.now_ns() >= deadline_ns:
                break
            await self.observer.tick()

    async def settle(self) -> None:
        """Wait for recovery, then watch a calm stretch."""
        lanes = frozenset(lane.id for lane in self.front)
        ports = frozenset(self.stack.upstream(t.name) for t in self.stack.targets if t.role == "coder")
        since = self._undone_ns
        fold = Every(
            [
                AllStable([Stable(id_, since, limit) for id_, limit in self.limits.items()]),
                Serving(lanes, ports, since),
            ]
        )
        # What was bad between the undo and now counts against "stable" too: the judge folds from the undo on.
        stable = await self.observer.wait(fold, self.settings.recovery, before=self.observer.take())
        self.emit(ev.Recovered(stable=stable, seen=fold.seen))
        self.say("stable again" if stable else f"not stable in {self.settings.recovery:g} s: {fold.seen}")
        self._phase("calm")
        await anyio.sleep(self.settings.calm)
        await self.observer.tick()

    def note(self, text: str) -> None:
        """Write a line into the event log."""
        self.emit(ev.Note(text=text))

    def _phase(self, name: str) -> None:
        self.emit(ev.Phase(name=name))
        self.say(f"phase {name}")
