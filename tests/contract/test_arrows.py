"""Imports between the parts point one way. What is listed is allowed to be imported; nothing else of the project is."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HARNESS = ROOT / "harness"

PURE = {
    "errors", "events", "eventlog", "records", "edges", "series", "folds", "ledger", "timeline", "recovery", "objectives", "verdict",
    "judge", "gates", "fitness", "receipts", "known_issues", "loadlog", "reports", "timings", "populations", "recount", "survival",
}  # fmt: skip
"""Functions over a run directory."""

IMPURE = {
    "asyncio",
    "anyio",
    "socket",
    "time",
    "datetime.datetime",
    "os.environ",
    "subprocess",
    "threading",
    "random",
    "secrets",
    "httpx",
    "urllib",
}

FOREIGN = {
    "httpx": {"clients"},
    "toxiproxy": {"clients"},
    "asyncpg": {"clients"},
    "requests": {"clients"},
    "docker": {"clients"},
    "testcontainers": {"clients"},
    "urllib3": {"clients"},
    "websockets": {"probes"},
    "httptools": {"probes"},
    "click": {"cli"},
    "pydantic": {"config"},
    "psutil": {"doctor"},
    "platformdirs": {"config"},
}  # fmt: skip

ALLOWED = {
    "reports": {"events", "known_issues", "folds", "recovery", "records", "series", "verdict", "timeline", "loadlog",
                "objectives", "errors", "reports"},
    "objectives": {"events", "folds", "ledger", "populations", "recovery", "records", "series", "timeline", "timings", "verdict", "errors",
                   "discover", "objectives"},
    "timeline": {"eventlog", "events", "ledger", "errors", "folds", "populations", "records", "series", "timings"},
    "judge": {"events", "known_issues", "gates", "objectives", "timeline", "verdict", "errors"},
    "gates": {"events", "fitness", "receipts", "timeline", "verdict"},
    "receipts": {"folds", "records", "series"},
    "fitness": {"events", "records", "series", "verdict"},
    "loadlog": {"errors", "records"},
    "known_issues": {"errors"},
    "verdict": set(),
    "records": set(),
    "errors": set(),
    "timings": set(),
    "events": set(),
    "eventlog": {"errors", "events"},
    "edges": {"records", "series"},
    "series": {"edges", "records"},
    "folds": {"records", "series"},
    "ledger": {"errors"},
    "populations": {"ledger", "recount", "series", "survival"},
    "recount": set(),
    "survival": set(),
    "openfiles": set(),
    "upstreams": set(),
    "variables": set(),
    "recovery": {"records", "series", "timeline"},
    "targets": {"errors", "safety"},
    "faults": {"faults", "records", "safety", "targets", "discover", "errors", "stack"},
    "probes": {"errors", "openfiles", "records", "upstreams", "probes"},
    "safety": {"errors", "openfiles", "safety"},
    "stack": {"events", "safety", "targets", "timings"},
    "clients": {"errors", "safety", "stack", "upstreams", "clients"},
    "containers": {"clients", "discover", "errors", "events", "safety", "stack", "tools", "variables", "containers"},
}  # fmt: skip
"""Parts whose every import is listed. Parts that are not here are only bound by the rules below."""

OWNER = {"containers": "compose"}
SHARED = ("harness.local.hosted", "harness.local.ports")
"""What every stack on this machine is made with."""


def modules() -> list[Path]:
    return sorted(HARNESS.rglob("*.py"))


def part(path: Path) -> str:
    inside = path.relative_to(HARNESS)
    return inside.parts[0].removesuffix(".py")


def imports(path: Path) -> list[tuple[int, str, bool]]:
    """Line, dotted name and whether it is for type checkers only."""
    found: list[tuple[int, str, bool]] = []

    def walk(node: ast.AST, *, typing: bool) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import):
                found.extend((child.lineno, alias.name, typing) for alias in child.names)
            elif isinstance(child, ast.ImportFrom) and child.module and child.level == 0:
                found.extend((child.lineno, f"{child.module}.{alias.name}", typing) for alias in child.names)
            guarded = isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test)
            walk(child, typing=typing or guarded)

    walk(ast.parse(path.read_text()), typing=False)
    return found


def project_part(name: str) -> str | None:
    head, _, rest = name.partition(".")
    if head != "harness":
        return None
    first = rest.partition(".")[0]
    known = {part(p) for p in modules()}
    return first if first in known else "__init__"


EACH = pytest.mark.parametrize("path", modules(), ids=[str(p.relative_to(ROOT)) for p in modules()])


@EACH
def test_arrows_point_one_way(path: Path) -> None:
    allowed = ALLOWED.get(part(path))
    for line, name, typing in imports(path):
        target = project_part(name)
        if target is None or allowed is None or target in {part(path), "__init__"}:
            continue
        if not typing:
            assert target in allowed, f"{path}:{line}: {part(path)} must not import {name}"


@EACH
def test_the_pure_ring_has_no_clock_network_or_environment(path: Path) -> None:
    if part(path) not in PURE:
        return
    text = path.read_text()
    for line, name, _ in imports(path):
        assert not {name, name.partition(".")[0]} & IMPURE, f"{path}:{line}: {name}"
    assert "os.environ" not in text
    assert "getenv" not in text


@EACH
def test_foreign_libraries_stay_behind_their_border(path: Path) -> None:
    for line, name, typing in imports(path):
        head = name.partition(".")[0]
        if head in FOREIGN and not typing:
            assert part(path) in FOREIGN[head], f"{path}:{line}: only {', '.join(FOREIGN[head])} may import {head}"


@EACH
def test_nobody_imports_load_tests_the_stand_in_or_the_command_line(path: Path) -> None:
    for line, name, _ in imports(path):
        assert name.partition(".")[0] not in {"loadtests", "locust", "standin", "gevent", "tests"}, (
            f"{path}:{line}: {name}"
        )
        assert project_part(name) != "cli", f"{path}:{line}: {name}"


@EACH
def test_only_backends_know_their_own_parts(path: Path) -> None:
    for line, name, typing in imports(path):
        for backend in ("local", "fake", "containers"):
            if project_part(name) == backend and not typing:
                inside = part(path) == backend or path == HARNESS / "backends" / f"{OWNER.get(backend, backend)}.py"
                shared = name.startswith(SHARED) and part(path) == "backends"
                assert inside or shared or part(path) in {"doctor", "listing"}, f"{path}:{line}: {name}"


def test_judging_a_saved_run_loads_neither_a_loop_nor_a_network() -> None:
    code = "import sys, harness.judge, harness.reports.text; print(*sorted({m.partition('.')[0] for m in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert not set(done.stdout.split()) & {"asyncio", "anyio", "socket", "httpx", "asyncpg", "websockets", "subprocess"}


def test_the_keeper_needs_the_standard_library_only() -> None:
    """It must outlive a broken installation: everything it can reach is ours or comes with Python."""
    todo, seen = [HARNESS / "safety" / "keeper.py"], set[Path]()
    while todo:
        path = todo.pop()
        seen.add(path)
        for line, name, typing in imports(path):
            head = name.partition(".")[0]
            if typing or head in sys.stdlib_module_names or head == "__future__":
                continue
            assert head == "harness", f"{path}:{line}: {name}"
            file = HARNESS.joinpath(*name.split(".")[1:]).with_suffix(".py")
            file = file if file.is_file() else file.parent.with_suffix(".py")
            if file.is_file() and file not in seen:
                todo.append(file)
    assert len(seen) > 5
