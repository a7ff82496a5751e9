"""`make soak`: every scenario many times at time scale 1.0, without a retry; counts what came of it.

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


def once(name: str, runs: Path, seed: int) -> tuple[str, str, bool]:
    """Run once; return status, why, and whether a meter gate explains it."""
    command = [
        str(Path(sys.executable).parent / "coder-chaos"),
        "run",
        "-s",
        name,
        "--seed",
        str(seed),
        "--runs-dir",
        str(runs),
    ]
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
    parser.add_argument("--runs-dir", type=Path, default=Path("runs/soak"))
    parser.add_argument("-k", dest="expression", help="only scenarios that fit, as in `coder-chaos run -k`")
    options = parser.parse_args()
    counts: Counter[str] = Counter()
    bad = 0
    for name in [scenario.name for scenario in select([], options.expression, [])]:
        for number in range(options.runs):
            status, why, meter = once(name, options.runs_dir, seed=number)
            label = f"{status}{' (meter)' if status == 'INCONCLUSIVE' and meter else ''}"
            counts[f"{name} {label}"] += 1
            bad += label not in ("PASS", "INCONCLUSIVE (meter)")
            print(f"{name} {number + 1}/{options.runs}  seed {number}  {label}  {why}", flush=True)
    for label, count in sorted(counts.items()):
        print(f"{count:4}  {label}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
