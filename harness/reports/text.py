"""The text report: what a person reads at 3 a.m. Verdict first, then why, then the figures behind it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness import events as ev
from harness import recovery
from harness.folds import p95_limit
from harness.known_issues import register
from harness.loadlog import dropped, requests
from harness.records import Outcome
from harness.reports.sessions_text import sessions_block
from harness.series import SECOND, Interval, Series, degraded, quantile
from harness.verdict import Status

if TYPE_CHECKING:
    from harness.timeline import RunView
    from harness.verdict import Verdict

_MARKS = {Status.PASS: "✔", Status.FAIL: "✘", Status.INCONCLUSIVE: "?", Status.MEASURED: "·", Status.ABORTED: "!"}
_STEP_NS = 100_000_000
STRIP = "stand-in, not Coder: this run says nothing about a Coder deployment"


def render(run: RunView, verdict: Verdict) -> str:
    """Return the whole report; the same run gives the same text anywhere."""
    blocks = [
        _head(run, verdict),
        _objectives(verdict),
        _faults(run),
        _recoveries(run),
        _availability(run),
        _latency(run),
    ]
    blocks += [sessions_block(run), _writes(run), _gates(verdict), _foot(run)]
    return "\n\n".join(block for block in blocks if block) + "\n"


def _head(run: RunView, verdict: Verdict) -> str:
    took = (run.end_ns - run.header.t_ns) / SECOND
    lines = [
        f"{verdict.status}{' DIRTY' if verdict.dirty else ''}  {run.header.scenario}  {took:.0f} s  seed {run.header.seed}"
    ]
    if run.stack and "standin" in run.stack.version:
        lines.append(f"  [{STRIP}]")
    use = run.header.stack_use
    if use and use["reused"]:
        lines.append(f"  [stack reused: started by run {use['started_by']}, {_runs(use['before'])} before this one]")
    lines += [f"  {run.header.promise}", f"  why: {verdict.why}"]
    lines += [
        f"  warning: known issue {issue.id} ({issue.issue}) was to be looked at again by {issue.expires}; renew or remove it"
        for issue in register()
        if issue.expired(run.header.wall_ns)
    ]
    return "\n".join(lines)


def _runs(before: list[str]) -> str:
    return f"{len(before)} run{'s' if len(before) > 1 else ''} ({', '.join(before)})"


def _objectives(verdict: Verdict) -> str:
    if not verdict.findings:
        return "OBJECTIVES\n  none was judged: no fault was injected"
    lines = ["OBJECTIVES"]
    for finding in verdict.findings:
        limit = f"   objective {finding.limit}" if finding.limit else "   measured, not gated"
        window = f"   [{finding.window}{f', n={finding.n}' if finding.n else ''}]" if finding.window else ""
        lines.append(
            f"  {_MARKS[finding.status]} {finding.status:<12} {finding.objective:<26} {finding.said}{limit}{window}"
        )
        if finding.known:
            lines.append(f"      known issue {finding.known}")
    return "\n".join(lines)


def _faults(run: RunView) -> str:
    lines = ["FAULTS AND RECEIPTS"]
    start = run.header.t_ns
    for fault in run.faults:
        head = f"  {fault.prepared.fault} {fault.prepared.name} on {', '.join(fault.prepared.targets)}"
        if fault.onset is None:
            lines.append(f"{head}: never injected")
            continue
        lines.append(
            f"{head}: onset at {(fault.onset.lo - start) / SECOND:.3f} s, known to {(fault.onset.hi - fault.onset.lo) / 1e6:.1f} ms"
        )
        if fault.proven:
            after = (fault.proven.t_ns - fault.onset.hi) / SECOND
            lines.append(f"    ✔ proven after {after:.2f} s: {fault.proven.witness}; own state: {fault.proven.state}")
        elif fault.unproven and fault.unproven.delivered:
            lines.append(f"    ✘ delivered, but its target did not do it: {fault.unproven.seen}")
        elif fault.unproven:
            lines.append(f"    ? not proven: {fault.unproven.seen}")
        if fault.undone:
            said = "; ".join(o["said"] for o in fault.undone.outcomes)
            lines.append(
                f"    ✔ undone after {(fault.undone.before_ns - fault.onset.hi) / SECOND:.2f} s by {fault.undone.by}: {said}"
            )
        if fault.healed:
            lines.append(f"    ✔ proven healed: {fault.healed.witness}")
        elif fault.unhealed:
            lines.append(f"    ? not healed: {fault.unhealed.seen}")
    return "\n".join(lines) if run.faults else "FAULTS AND RECEIPTS\n  none was injected"


def _recoveries(run: RunView) -> str:
    if run.window is None:
        return ""
    rows = [("time to detect", recovery.detected(run))]
    titles = {
        "first": "first good answer",
        "stable": "stable (5 s)",
        "capacity": "full capacity",
        "sessions": "sessions back",
    }
    rows += [(titles[name], measure(run)) for name, measure in recovery.RECOVERIES.items()]
    return "\n".join(["RECOVERY (from the onset)", *(f"  {name:<18} {span or 'not measured'}" for name, span in rows)])


def _availability(run: RunView) -> str:
    if run.window is None:
        return ""
    lines = [f"AVAILABILITY (onset to end of recovery, {(run.window.hi - run.window.lo) / SECOND:.1f} s)"]
    for series in run.series():
        bad, unknown, due = series.count_bad(run.window)
        longest = max((o.length for o in series.outages(run.window)), default=None, key=lambda i: i.hi)
        text = f"longest outage [{longest.lo / SECOND:.3f}, {longest.hi / SECOND:.3f}] s" if longest else "no outage"
        rate = series.lane.rate_hz
        lines.append(
            f"  {series.lane.target:<10} {series.lane.kind:<7} bad-seconds {bad / rate:6.2f}"
            f"{f' to {(bad + unknown) / rate:.2f}' if unknown else ''}  degraded {degraded(series, run.window):5.1f} s  {text}"
            f"  resolution {1000 / rate:.0f} ms  n={due}{_classes(run, series)}"
        )
    return "\n".join(lines)


def _classes(run: RunView, series: Series) -> str:
    """How the slots that were not simply good ended. Slow is good, and above the limit of a recovery."""
    window = run.window or Interval(0, 0)
    counts: dict[int, int] = {}
    for i in series.range(window):
        if series.outcome[i] != Outcome.OK:
            counts[series.outcome[i]] = counts.get(series.outcome[i], 0) + 1
    words = [f"{Outcome(o).name.lower().replace('_', ' ')} {n}" for o, n in sorted(counts.items())]
    if late := series.served_late(window):
        words.append(f"{late} of these answered after the deadline")
    p95 = run.baseline_p95(series)
    if p95 is not None and (slow := series.count_slow(window, p95_limit(p95))):
        words.append(f"slow {slow}")
    return f"  ({', '.join(words)})" if words else ""


def _latency(run: RunView) -> str:
    wanted = [(name, window) for name, window in run.phases if name in ("baseline", "fault", "recovery", "calm")]
    if not wanted or not run.front:
        return ""
    lines = [
        "LATENCY through the balancer, by phase (from the intended send; an unanswered slot counts as long as it was waited for)"
    ]
    for series in run.front:
        for name, window in wanted:
            values = series.all_latencies(window)
            if values:
                q = [f"p{p} {quantile(values, p / 100) / 1e6:8.1f} ms" for p in (50, 95, 99)]
                lines.append(f"  {series.lane.kind:<7} {name:<9} {'  '.join(q)}  n={len(values)}")
    return "\n".join(lines + _load_rows(run, wanted))


def _load_rows(run: RunView, phases: list[tuple[str, Interval]]) -> list[str]:
    started = run.last(ev.LoadStarted)
    rows: dict[str, list[tuple[int, bool]]] = {name: [] for name, _ in phases}
    censored = unsent = 0
    late: list[int] = []
    for path in [run.directory / name for name in (started.files if started else [])]:
        for request in requests(path) if path.is_file() else ():
            censored += request.censored
            late.append(request.start - request.intended)
            phase = next((n for n, w in phases if w.lo <= request.intended < w.hi), None)
            if phase and not request.censored:
                rows[phase].append((request.end - request.intended, request.outcome == Outcome.OK))
        unsent += sum(1 for _ in dropped(path)) if path.is_file() else 0
    out = []
    for name, values in rows.items():
        if values:
            times = sorted(v[0] for v in values)
            q = [f"p{p} {quantile(times, p / 100) / 1e6:8.1f} ms" for p in (50, 95, 99)]
            bad = sum(not v[1] for v in values)
            out.append(
                f"  load    {name:<9} {'  '.join(q)}  n={len(values)}  failed {bad}  (partly people who wait: gates nothing)"
            )
    if late:
        out.append(f"  load    sent late p99 {quantile(sorted(late), 0.99) / 1e6:.1f} ms, {unsent} arrivals dropped")
    if censored:
        out.append(f"  load    {censored} requests were still open at the stop")
    return out


def _writes(run: RunView) -> str:
    results: dict[str, int] = {}
    for write in run.history:
        results[write.result] = results.get(write.result, 0) + 1
    if not results:
        return ""
    text = ", ".join(f"{count} {name}" for name, count in sorted(results.items()))
    sources = ", ".join(t.by for t in run.all(ev.Truth)) or "nobody"
    return f"WRITES  {len(run.history)} in the history: {text}; checked against {sources}"


def _gates(verdict: Verdict) -> str:
    lines = ["VALIDITY"]
    lines += [f"  {'✔' if gate.ok else '✘'} {gate.name}: {gate.said}" for gate in verdict.gates]
    return "\n".join(lines)


def _foot(run: RunView) -> str:
    header, stack = run.header, run.stack
    versions = ", ".join(f"{name} {version}" for name, version in sorted(header.versions.items()))
    lines = ["ENVIRONMENT"]
    if stack:
        use = header.stack_use
        came = f"reused after {_runs(use['before'])}" if use and use["reused"] else f"up in {stack.took_s:.1f} s"
        fresh = f", fresh: {use['why']}" if use and not use["reused"] else ""
        lines.append(f"  stack {header.stack}, {run.env.replicas} replicas, {came}{fresh}")
        lines.append(f"  server {stack.version}, time scale {stack.time_scale:g}")
    offsets = [row["wall_offset_ns"] for row in run.vitals if row.get("wall_offset_ns")]
    if offsets and max(offsets) - min(offsets) > _STEP_NS:
        step = (max(offsets) - min(offsets)) / SECOND
        lines.append(f"  the wall clock stepped by {step:.1f} s; nothing here is dated by it, times in logs may be off")
    extra = header.settings.get("server_env") or {}
    if extra:
        lines.append("  server environment: " + ", ".join(f"{k}={v}" for k, v in sorted(extra.items())))
    lines += [f"  {versions}", f"  run {header.run}, again: coder-chaos run -s {header.scenario} --seed {header.seed}"]
    return "\n".join(lines)
