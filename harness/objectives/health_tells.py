"""Health tells: a replica that is too far from its database warns of it in its health report, and no other does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from harness import events as ev
from harness.objectives.base import Bound, limit
from harness.series import SECOND, Interval, quantile
from harness.verdict import Finding, Status

if TYPE_CHECKING:
    from harness.timeline import RunView

_WARNING = ev.HealthReport.FAR
_SURE_NS = 5 * SECOND
"""A busy machine's pings are slow for a moment; a warning with nothing on that stays for longer than this does not go."""
_BARE = ("before", "after")
"""Stages with nothing on."""
_ORDER = (Status.FAIL, Status.INCONCLUSIVE, Status.PASS)


class _Said(NamedTuple):
    """What one replica's reports in one stage of the run come to."""

    stage: str
    status: Status
    text: str


@dataclass(frozen=True)
class HealthTells:
    """Health reports before any delay, with `near_ms` and `far_ms` added, and after: EDB02 in those of `far_ms` alone.

    `warns_at` is where the report begins to warn, in seconds; one that names another threshold proves nothing. Pings
    cannot be quicker than what was added, so silence at `far_ms` is a failure, and so is any report that contradicts its own
    figure. They can be slower, on a busy machine: so a replica that is near may be asked again, and one quiet report is
    enough. One that never gets quiet fails with nothing on, when it was asked for 5 s and its probes were quick meanwhile.
    """

    name: ClassVar[str] = "health-tells"
    warns_at: Bound
    near_ms: int = 12
    far_ms: int = 18

    def judge(self, run: RunView) -> Finding:
        """Judge the reports of the four stages; each stage needs some, and one that counts of everyone who was asked."""
        stages = (_BARE[0], f"+{self.near_ms} ms", f"+{self.far_ms} ms", _BARE[1])
        limits = f"{_WARNING} at {stages[2]}, not at {stages[1]}, before or after"
        reports: dict[tuple[str, str], list[ev.HealthReport]] = {}
        for report in run.all(ev.HealthReport):
            reports.setdefault((_stage(run, report), report.target), []).append(report)
        judged = [
            _Said(stage, *self._judge(run, stage, target, own))
            for (stage, target), own in reports.items()
            if stage in stages
        ]
        asked = {said.stage for said in judged}
        judged += [_Said(s, Status.INCONCLUSIVE, f"{s}: nobody was asked") for s in stages if s not in asked]
        worst = min(judged, key=lambda said: (_ORDER.index(said.status), stages.index(said.stage)))
        count = sum(len(own) for (stage, _), own in reports.items() if stage in stages)
        text = f"{count} reports: {_WARNING} of every replica at {stages[2]}, of none at {stages[1]}, before and after"
        said = text if worst.status is Status.PASS else worst.text
        return Finding(self.name, worst.status, said, limit=limits, n=count)

    def _judge(self, run: RunView, stage: str, target: str, reports: list[ev.HealthReport]) -> tuple[Status, str]:
        """One replica in one stage."""
        who, far = f"{stage}: {target}", stage == f"+{self.far_ms} ms"
        most_ms = round(limit(self.warns_at).value * 1000, 3)
        for report in reports:
            if report.why:
                return Status.INCONCLUSIVE, f"{who} gave no report: {report.why}"
            if report.GONE in report.codes:
                return Status.INCONCLUSIVE, f"{who} had no answer of its database: {report.GONE}"
            if report.threshold_ms is not None and report.threshold_ms != most_ms:
                return Status.INCONCLUSIVE, f"{who} warns from {report.threshold_ms} ms on, not from {most_ms:g} ms"
        for report in reports:
            told, figure = _WARNING in report.codes, report.latency_ms
            if (far and not told) or (figure is not None and told != (figure >= most_ms)):
                return Status.FAIL, _tell(who, report)
        if far or any(_WARNING not in report.codes for report in reports):
            return Status.PASS, ""
        window = Interval(reports[0].since_ns, reports[-1].t_ns)
        lasted = stage in _BARE and window.hi - window.lo >= _SURE_NS
        sure = lasted and _nearby(run, target, window, most_ms)
        text = f"{_tell(who, reports[-1])}; so said all of its reports in {(window.hi - window.lo) / SECOND:.1f} s"
        return Status.FAIL if sure else Status.INCONCLUSIVE, text


def _tell(who: str, report: ev.HealthReport) -> str:
    figure = "without a figure" if report.latency_ms is None else f"its pings took {report.latency_ms} ms"
    return f"{who} {'warned' if _WARNING in report.codes else 'did not warn'}, {figure}"


def _stage(run: RunView, report: ev.HealthReport) -> str:
    """Where in the run a report belongs: before or after all delays of its target, or what was on from question to answer."""
    doses: list[str] = []
    done = False
    for fault in run.faults:
        if (
            "rtt_ms" not in fault.prepared.params
            or report.target not in fault.prepared.targets
            or fault.injected is None
        ):
            continue
        if fault.healed is not None and fault.healed.t_ns <= report.since_ns:
            done = True
        elif fault.injected.before_ns < report.t_ns:
            whole = fault.proven is not None and fault.proven.t_ns <= report.since_ns
            whole &= fault.undone is None or report.t_ns <= fault.undone.before_ns
            doses.append(f"+{fault.prepared.params['rtt_ms']} ms" if whole else "in between")
    if not doses:
        return _BARE[done]
    return doses[0] if len(doses) == 1 else "in between"


def _nearby(run: RunView, target: str, window: Interval, most_ms: float) -> bool:
    """Whether the probes on the replica's own address, several round trips each, were quicker than one that is too far."""
    values = [v for s in run.series(target=target, kinds=("db",)) for v in s.all_latencies(window)]
    return bool(values) and quantile(sorted(values), 0.5) < most_ms * 1e6
