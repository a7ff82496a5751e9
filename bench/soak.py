"""`make soak`: every scenario many times, without a retry; counts what came of it.

Those tagged `smoke` always run at time scale 1.0; of the others so many as `--full` says, the rest at a quarter.
Exit 1 on any FAIL, or on an INCONCLUSIVE that the meter did not cause.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

from harness.selection import select

QUICK = ["--time-scale", "0.25", "--set", "baseline=4s", "--set", "calm=3s", "--set", "recovery=16s"]
"""Only the server's own timers are quicker; the balancer's and the clients' stay real."""


def once(name: str, runs: Path, seed: int, pace: list[str]) -> tuple[str, str, bool]:
    """Run once; return status, why, and whether a meter gate explains it."""
    program = str(Path(sys.executable).parent / "coder-chaos")
    command = [program, "run", "--fresh", "-s", name, "--seed", str(seed), "--runs-dir", str(runs), *pace]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    path = (runs / "latest").resolve() / "verdict.json"
    if done.returncode not in (0, 1, 3) or not path.is_file():
        return f"exit {done.returncode}", done.stderr.strip().splitlines()[-1] if done.stderr else "", False
    verdict = json.loads(path.read_text())
    meter = any(gate["meter"] and not gate["ok"] for gate in verdict["gates"])
    return verdict["status"], verdict["why"], meter


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--full", type=int, default=2, help="runs at time scale 1.0 of scenarios not tagged smoke")
    parser.add_argument("--runs-dir", type=Path, default=Path("runs/soak"))
    parser.add_argument("-k", dest="expression", help="only scenarios that fit, as in `coder-chaos run -k`")
    options = parser.parse_args()
    counts: Counter[str] = Counter()
    bad = 0
    for scenario in select([], options.expression, []):
        full = options.runs if "smoke" in scenario.tags else options.full
        for number in range(options.runs):
            pace = [] if number < full else QUICK
            status, why, meter = once(scenario.name, options.runs_dir, number, pace)
            label = (
                f"{status}{' (meter)' if status == 'INCONCLUSIVE' and meter else ''}{' at a quarter' if pace else ''}"
            )
            counts[f"{scenario.name} {label}"] += 1
            bad += not label.startswith(("PASS", "INCONCLUSIVE (meter)"))
            print(f"{scenario.name} {number + 1}/{options.runs}  seed {number}  {label}  {why}", flush=True)
    for label, count in sorted(counts.items()):
        print(f"{count:4}  {label}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
