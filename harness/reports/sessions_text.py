"""The sessions of a run in text: per population who was dropped and why, how long the way back took, and the herd."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.series import SECOND, quantile

if TYPE_CHECKING:
    from harness.populations import Drop, Population
    from harness.series import Interval
    from harness.timeline import RunView

_PARTS = ("detect", "backoff", "dial", "resume")
_SHARES = (0.5, 0.95)


def sessions_block(run: RunView) -> str:
    """Return the block, empty when nothing was injected or there are no sessions."""
    ledger, window = run.sessions, run.window
    if window is None or not ledger.populations:
        return ""
    blocks = [_population(run, p, window) for _, p in sorted(ledger.populations.items())]
    agreed = f"{ledger.checkpoints} checkpoints agree" if not ledger.disagreement else f"WRONG: {ledger.disagreement}"
    head = "SESSIONS (gaps from the last good exchange to the first good message)"
    checked = f"  opens - closes = live: {agreed}" if ledger.checkpoints else "  opens - closes = live: no checkpoint"
    return "\n".join([head, *blocks, checked])


def _population(run: RunView, population: Population, window: Interval) -> str:
    drops = population.dropped(window)
    back = [d for d in drops if d.back is not None]
    outside = len(population.drops) - len(drops)
    gave_up = sum(d.gave_up is not None for d in drops)
    counts = [
        f"{len(population.opened)} of {len(population.names)} opened",
        f"{len(drops)} dropped in the window, {len(back)} back",
    ]
    counts += [f"{gave_up} gave up"] * bool(gave_up)
    still = len(drops) - len(back) - gave_up
    counts += [f"{still} still down"] * bool(still) + [f"{outside} dropped outside it"] * bool(outside)
    lines = [f"  {population.name}: {', '.join(counts)}"]
    lines += _causes(run, drops) + _gaps(back) + _curve(population, drops)
    peak = population.peak_dials(window)
    if peak.dials:
        lines.append(f"    dials: at most {peak.dials}/s, {(peak.at - window.lo) / SECOND:.2f} s after the onset")
    if population.kind == "echo":
        lines.append(_echo(population))
    if population.never_opened:
        never = population.never_opened
        lines.append(f"    {len(never)} never had a first message: {', '.join(never[:5])}")
    return "\n".join(lines)


def _causes(run: RunView, drops: list[Drop]) -> list[str]:
    causes: dict[str, int] = {}
    for drop in drops:
        by = " by us" if drop.initiator == "client" and drop.cause == "close" else ""
        cause = f"{drop.cause}{f' {drop.code}' if drop.code else ''}{by} from {run.name_of(drop.upstream)}"
        causes[cause] = causes.get(cause, 0) + 1
    return [f"    {count} by {cause}" for cause, count in sorted(causes.items())]


def _gaps(back: list[Drop]) -> list[str]:
    """Quantiles of the gap, and the parts of the session that is the quantile: parts of one gap add up."""
    if not back:
        return []
    by_gap = sorted(back, key=lambda d: (d.parts.total, d.session, d.at))
    gaps = [d.parts.total for d in by_gap]
    labels: dict[int, list[str]] = {}
    for label, share in (("p50", 0.5), ("p95", 0.95), ("max", 1.0)):
        labels.setdefault(gaps.index(quantile(gaps, share)), []).append(label)
    lines = []
    for at, names in sorted(labels.items()):
        drop = by_gap[at]
        parts = " + ".join(f"{part} {getattr(drop.parts, part) / SECOND:.2f}" for part in _PARTS)
        dials = f"{drop.attempts} dial{'s' * (drop.attempts != 1)}"
        lines.append(f"    gap {', '.join(names)}: {drop.parts.total / SECOND:.2f} s = {parts}  ({dials})")
    return lines


def _curve(population: Population, drops: list[Drop]) -> list[str]:
    if not drops:
        return []
    survival = population.survival(drops)
    said = []
    for share in _SHARES:
        moment = survival.back_within(share)
        said.append(f"{share:.0%} in {moment / SECOND:.1f} s" if moment is not None else f"{share:.0%} never seen")
    tail = f" ({len(survival.down)} of {survival.count} last seen down)" if survival.down else ""
    return [f"    back: {', '.join(said)}{tail}"]


def _echo(population: Population) -> str:
    echo = population.echo
    return (
        f"    echo: {echo.sent} sent, {echo.back} back, {echo.lost} lost outside drops, {echo.in_flight} in flight at an"
        f" end, {echo.doubled} doubled, {echo.reordered} out of order, {echo.late} on a later connection"
    )
