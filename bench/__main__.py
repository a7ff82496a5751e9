"""`make bench`: every file of this folder with a `run(temp)`, or those that are named on the command line."""

from __future__ import annotations

import importlib
import shutil
import sys
import tempfile
from pathlib import Path


def names() -> list[str]:
    """Benchmarks of this folder, in alphabetical order."""
    files = sorted(Path(__file__).parent.glob("*.py"))
    return [file.stem for file in files if "\ndef run(temp: Path)" in file.read_text(encoding="utf-8")]


def main() -> int:
    """Run them one after the other, each with a folder of its own; 2 for a name that is none."""
    known, wanted = names(), sys.argv[1:]
    if unknown := [name for name in wanted if name not in known]:
        print(f"bench: unknown {', '.join(unknown)}; known: {', '.join(known)}", file=sys.stderr)
        return 2
    for name in wanted or known:
        temp = Path(tempfile.mkdtemp(prefix="chaos-bench-"))
        print(f"== {name}", flush=True)
        try:
            importlib.import_module(f"bench.{name}").run(temp)
        finally:
            shutil.rmtree(temp, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
