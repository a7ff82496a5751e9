"""The proof of the meter at full size: 300 planted outages with both cores busy, 20 stalls of our own. About 2 minutes.

`SEED=2 python -m bench metrology` plants others.
"""

from __future__ import annotations

import os
import sys
from collections import Counter
from pathlib import Path

from bench.show import show

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests" / "metrology"))

import planted
import stalled

OUTAGES = 300
LONGEST_MS = 10_000
STALLS = 20
LANES = [planted.SHARP] * 8 + [planted.SLOW] * 2 + [planted.PINNED] * 2
SEED = int(os.environ.get("SEED", "1"))


def outages(folder: Path) -> None:
    plan = planted.plan(SEED, OUTAGES, LANES, LONGEST_MS)
    kinds = ", ".join(f"{kind} {count}" for kind, count in sorted(Counter(p.kind for p in plan).items()))
    print(
        f"{OUTAGES} outages, 50 ms to 10 s, on {len(LANES)} lanes at {planted.RATE_HZ:.0f}/s, two busy loops: {kinds}"
    )
    report = planted.run(folder, plan, LANES, busy=2)
    edges, refuted = report.stated, report.refuted
    show("stated bounds that hold the truth", [100 * report.contained()], "%", f">= 99 %  ({len(edges)} edges)")
    for edge in refuted:
        print(f"  refuted: {edge}")
    show("outages and freezes that are stated wrongly", [float(len(report.wrong))], "", "0")
    for line in report.wrong:
        print(f"  wrong: {line}")
    resolution = 2 * planted.SLOT_MS + report.lateness_p99_ms
    for group, found in sorted(report.edges.items()):
        if group == "unknown":
            continue
        sharp = group == "sharp"
        widths = [edge.width_ms for edge in found]
        show(f"width of the bounds, {group} lanes", widths, "ms", f"<= {resolution:.1f} ms" if sharp else "measured")
        error = [report.error_p95_ms(group)]
        show(f"error of their middle p95, {group} lanes", error, "ms", "<= 15 ms" if sharp else "measured")
    show("lateness of the meter p99", [report.lateness_p99_ms], "ms", "measured")
    show("bracket of the truth", report.brackets_ms, "ms", "known far better than stated")
    show("stalls of the simulator over 20 ms", [float(report.stalls)], "", "0, or the truth itself is late")
    print(f"{len(report.edges['unknown']) // 2} stretches of 429: unknown slots, held by the upper bounds")
    print(f"{report.only_slow} freezes shorter than the deadline of {planted.DEADLINE_MS:.0f} ms: slow and never out")


def stalls(folder: Path) -> None:
    stopped = stalled.run(folder, STALLS)
    show(f"stalls of 0.5 s that are flagged, of {STALLS}", [float(stopped.flagged())], "", f"{STALLS}")
    well = stopped.view.series()[stalled.WELL]
    bad, _, due = well.count_bad(planted.Interval(well.intended[0], well.intended[-1]))
    show(f"bad slots of a healthy service meanwhile, of {due}", [float(bad)], "", "0")


def run(temp: Path) -> None:
    outages(temp / "outages")
    stalls(temp / "stalls")
