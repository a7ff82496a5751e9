"""The meter process: ground truth about a deployment, from outside and in an open loop.

```
python -m harness.probes.meter < plan        one JSON line on stdin, then end of input = stop
  dir/slots.bin       one record per probe slot (harness.records.SLOT)
  dir/late.bin        how slots ended that were followed after their deadline (the same form)
  dir/sessions.jsonl  one row per turn of a session (harness.probes.ledger)
  dir/meter.jsonl     the meter's own fitness (harness.probes.selfcheck)
  stdout              {"ready": true, "t_ns"}, then live counters every 250 ms, the last with "final": true
```
Exit codes: 0 stopped as asked, 2 bad plan, 70 a fault of our own, 74 a file could not be written.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import sys
import threading
from time import monotonic_ns
from typing import TYPE_CHECKING, Any, Final

from harness.errors import HarnessError, UsageError
from harness.openfiles import raise_limit
from harness.probes.lanes import LaneTools
from harness.probes.late import Late
from harness.probes.ledger import Ledger
from harness.probes.modes import lane_of
from harness.probes.phases import Phases
from harness.probes.plan import Timeouts, parse_plan
from harness.probes.schedule import Schedule
from harness.probes.selfcheck import SelfCheck
from harness.probes.sessions import Sessions
from harness.probes.tcp import resolve
from harness.probes.writer import Output, WriteError, say
from harness.records import UNDECIDED, Outcome

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.probes.exchange import Exchange
    from harness.probes.plan import Plan
    from harness.probes.writer import Batch

_PERIOD_S: Final = 0.25
_LEAD_NS: Final = 20_000_000
_GRACE_MS: Final = 1500
_PERIODS: Final = 4
"""Report periods between two checkpoints of the session ledger."""
_STDIN: Final = 0
_CANNOT_WRITE: Final = 74


class Meter:
    """One plan being carried out. Raises PlanError for names that do not resolve."""

    def __init__(self, plan: Plan, output: Output, loop: asyncio.AbstractEventLoop) -> None:
        self._plan = plan
        self._output = output
        self._loop = loop
        self._check = SelfCheck()
        self._ledger = Ledger(output)
        self._slots = 0
        self._tallies = {lane.id: [0, 0, 0] for lane in plan.lanes}
        self._outcomes = {lane.id: [0] * len(Outcome) for lane in plan.lanes}
        deadline_ns = int(plan.deadline_ms * 1e6)
        self._late = Late(int(plan.follow_ms * 1e6), output.late)
        tools = LaneTools(
            loop,
            deadline_ns,
            plan.upstreams,
            self._record,
            Phases(plan.timeouts) if plan.timeouts != Timeouts() else None,
            self._late if plan.follow_ms else None,
        )
        lanes = [lane_of(lane, resolve(lane.host, lane.port), tools) for lane in plan.lanes]
        self._schedule = Schedule(lanes, tools, self._check)
        self._sessions = Sessions(plan, loop, self._ledger)
        self._period = 0

    async def run(self, ending: asyncio.Future[None]) -> None:
        """Measure until `ending` is set, then finish what is under way. Raises WriteError."""
        real_time, nice = _raise_priority(self._plan.priority)
        start = {
            "uvloop": False,
            "cores": os.cpu_count(),
            "real_time": real_time,
            "nice": nice,
            "nice_asked": self._plan.priority,
            "pid": os.getpid(),
            "counted": True,
        }
        self._output.check({"start": {"t_ns": monotonic_ns(), **start}})
        gc.collect()
        gc.freeze()  # what lives as long as we do is never scanned again
        self._check.start()
        self._schedule.start(monotonic_ns() + _LEAD_NS)
        self._sessions.start()
        say({"ready": True, "t_ns": monotonic_ns()})
        over = asyncio.Event()
        reporting = asyncio.ensure_future(self._report_until(over))
        await asyncio.wait({ending, reporting}, return_when=asyncio.FIRST_COMPLETED)
        if reporting.done():
            reporting.result()
        self._sessions.stop()
        await self._schedule.finish(int(min(self._plan.deadline_ms, _GRACE_MS) * 1e6))
        over.set()
        await reporting
        self._check.stop()

    def _record(self, exchange: Exchange) -> None:
        self._output.slot(exchange)
        self._slots += 1
        outcome = exchange.outcome if exchange.outcome is not None else Outcome.UNKNOWN
        self._outcomes[exchange.lane.id][outcome] += 1
        tally = self._tallies[exchange.lane.id]
        tally[0 if exchange.outcome is Outcome.OK else 2 if exchange.outcome in UNDECIDED else 1] += 1

    async def _report_until(self, over: asyncio.Event) -> None:
        due = self._loop.time()
        final = False
        while not final:
            due = max(due + _PERIOD_S, self._loop.time())
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(over.wait(), due - self._loop.time())
            final = over.is_set()  # read once: it may be set while the report before the last one is written
            await self._report(final=final)

    async def _report(self, *, final: bool) -> None:
        """Write what there is, then say how much that was: the counters never run ahead of the files."""
        now = monotonic_ns()
        for row in self._check.report(now, final=final):
            self._output.check({**row, **self._late.report()} if "sent" in row else row)
        if final:
            self._output.check({"tally": {str(lane): counts for lane, counts in self._outcomes.items()}})
        self._period += 1
        if self._plan.watchers and (final or self._period % _PERIODS == 0):
            self._sessions.checkpoint()
        live: dict[str, object] = {
            "t_ns": now,
            "slots": self._slots,
            "late": self._late.recorded,
            "following": self._late.following,
            "rows": self._ledger.rows,
            "lanes": {str(lane): list(tally) for lane, tally in self._tallies.items()},
            "live": self._ledger.live,
            "open": self._ledger.open,
            "lateness_p99_ms": self._check.lateness_p99_ms,
            "stalls": self._check.stalls,
        }
        if final:
            live["final"] = True
        batch = self._output.take()
        await self._loop.run_in_executor(None, self._write, batch, live)

    def _write(self, batch: Batch, live: dict[str, object]) -> None:
        self._output.write(batch)
        say(live)


def main() -> int:
    """Run the meter on this process's stdin and stdout; returns the exit code."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; we measure until our input ends
    try:
        plan = parse_plan(_read_line())
        raise_limit()
        asyncio.run(_measure(plan, Output(plan.folder)))
    except UsageError as exc:
        return _complain(exc, UsageError.exit_code)
    except WriteError as exc:
        return _complain(exc.strerror, _CANNOT_WRITE)
    except Exception as exc:  # noqa: BLE001  # whatever it is, it is ours, and the parent reads one line
        return _complain(f"fault in the meter: {exc!r}", HarnessError.exit_code)
    return 0


async def _measure(plan: Plan, output: Output) -> None:
    loop = asyncio.get_running_loop()
    ending: asyncio.Future[None] = loop.create_future()

    faults: list[Exception] = []

    def end() -> None:
        if not ending.done():
            ending.set_result(None)

    def crashed(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        faults.append(context.get("exception") or RuntimeError(context["message"]))
        end()  # what was measured so far is still written

    loop.set_exception_handler(crashed)
    loop.add_signal_handler(signal.SIGTERM, end)
    meter = Meter(plan, output, loop)
    output.open()
    threading.Thread(target=_await_end_of_input, args=(loop, end), name="stdin", daemon=True).start()
    await meter.run(ending)
    if faults:
        raise faults[0]


def _await_end_of_input(loop: asyncio.AbstractEventLoop, end: Callable[[], None]) -> None:
    """Block until stdin ends. A thread and no reader callback: stdin may also be a file."""
    while os.read(_STDIN, 4096):
        pass
    with contextlib.suppress(RuntimeError):  # the loop has ended before its input
        loop.call_soon_threadsafe(end)


def _read_line() -> bytes:
    """Read the plan, up to its newline or the end of input, without any buffer that could take more."""
    line = bytearray()
    while not line.endswith(b"\n") and (data := os.read(_STDIN, 65536)):
        line += data
    return bytes(line)


def _raise_priority(wanted: int) -> tuple[bool, int]:
    """Ask to run before others, if `wanted` is below 0; returns whether in real time, and our nice value.

    Real time first: with the kernel's autogroups a nice value counts inside its own session only, and beside two busy
    ones the meter sent 100 ms late with nice -10 and 2 ms late in real time (p99 of 800 slots/s on 2 cores). The kernel
    still leaves 5 % of the time to the rest. Threads that are started later inherit both.
    """
    if wanted < 0:
        with contextlib.suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(os.sched_get_priority_min(os.SCHED_RR)))
    with contextlib.suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, 0, wanted)
    return os.sched_getscheduler(0) == os.SCHED_RR, os.getpriority(os.PRIO_PROCESS, 0)


def _complain(what: object, code: int) -> int:
    print(f"meter: {what}", file=sys.stderr)  # noqa: T201  # the one line a failed meter leaves
    return code


if __name__ == "__main__":
    sys.exit(main())
